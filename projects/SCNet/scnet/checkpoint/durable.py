"""Files that are whole or not there, whenever the process is killed or the power fails."""

import os


def rename_durably(source: str, target: str) -> None:
    """Give a file its name when its content is on the disk, in place of one of that name."""
    with open(source, "rb") as f:
        os.fsync(f.fileno())
    os.replace(source, target)


def write_durably(path: str, text: str) -> None:
    """Write a file, in place of one of that name, which is there until this one is whole."""
    with open(f"{path}.new", "w") as f:
        f.write(text)
    rename_durably(f"{path}.new", path)
