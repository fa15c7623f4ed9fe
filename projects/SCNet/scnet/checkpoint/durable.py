"""Writing files so that they are whole or not there, even when the power fails."""

import os


def rename_durably(source: str, target: str) -> None:
    """Give a file its name once its content is on the disk; a file of that name is replaced."""
    with open(source, "rb+") as f:  # Windows flushes only what may be written
        os.fsync(f.fileno())
    os.replace(source, target)


def write_durably(path: str, text: str) -> None:
    """Write a file; one of that name stays until the new one is whole, and is replaced then."""
    with open(f"{path}.new", "w") as f:
        f.write(text)
    rename_durably(f"{path}.new", path)
