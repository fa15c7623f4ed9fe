"""Writing files so that they are whole or not there, even when the power fails."""

import os

from ..whole_files import remove_if_there


def rename_durably(source: str, target: str) -> None:
    """Give a file its name once its content is on the disk; a file of that name is replaced."""
    with open(source, "rb+") as f:  # Windows flushes only what may be written
        os.fsync(f.fileno())
    os.replace(source, target)


def write_durably(path: str, text: str) -> None:
    """Write a file; one of that name stays until the new one is whole, and is replaced then."""
    remove_if_there(f"{path}.new")
    with open(f"{path}.new", "x") as f:  # "x" follows no link
        f.write(text)
    rename_durably(f"{path}.new", path)
