"""What exists is not written over unasked, and what is read or linked is never."""

import os
from fnmatch import fnmatch
from functools import cache
from typing import Iterable, Sequence, Union

from .whole_files import remove_if_there

Path = Union[str, os.PathLike]


def refuse_to_replace(paths: Sequence[Path]) -> None:
    """Make sure that none of the files is there.

    Raises:
        FileExistsError: one is.
    """
    existing = [path for path in paths if os.path.lexists(path)]
    if existing:
        more = f" and {len(existing) - 1} more exist" if len(existing) > 1 else " exists"
        raise FileExistsError(
            f"'{existing[0]}'{more} already. Choose another place, or add --overwrite."
        )


def refuse_impossible_outputs(outputs: Sequence[str], inputs: Iterable[str]) -> None:
    """Make sure that files can be written, each in a place of its own where nothing is read.

    Args:
        outputs: the files that will be written.
        inputs: the files that are read.

    Raises:
        ValueError: two outputs have one place, or an output has that of an input.
        OSError: there is a folder at the place of an output, or its folder cannot be written to.
    """
    real_path = cache(os.path.realpath)

    def place(path: str) -> str:
        folder, name = os.path.split(os.path.abspath(path))
        return os.path.normcase(os.path.join(real_path(folder), name))  # if it is a link, its own

    read, written = {place(path) for path in inputs}, set()
    for path in outputs:
        if place(path) in read:
            raise ValueError(f"'{path}' is read, and cannot be an output. Choose another place.")
        if place(path) in written:
            raise ValueError(
                f"Two different outputs would both be '{path}'. Give each kind of output a folder "
                "of its own."
            )
        written.add(place(path))
        if os.path.isdir(path):
            raise IsADirectoryError(f"'{path}' is a folder, and cannot be written as a file.")
    for folder in {os.path.dirname(os.path.abspath(path)) for path in outputs}:
        existing = folder
        while not os.path.lexists(existing):
            existing = os.path.dirname(existing)
        if not os.path.isdir(existing):
            raise NotADirectoryError(f"'{existing}' is no folder, so nothing can be written there.")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(f"You may not write into the folder '{existing}'.")


def refuse_links(folder: str, patterns: Sequence[str]) -> None:
    """Make sure that what is written or appended to files of these names stays in the folder.

    Args:
        folder: need not exist.
        patterns: names, and patterns of names as "log.txt*".

    Raises:
        FileExistsError: one is a link.
    """
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for path in (os.path.join(folder, x) for x in names if any(fnmatch(x, y) for y in patterns)):
        if os.path.islink(path):
            raise FileExistsError(
                f"'{path}' is a link, so that another file would be written to. Remove it, or "
                "choose another folder."
            )


def remove_links(paths: Iterable[str]) -> None:
    """Remove those of the paths that are links, so that files take their place.

    What they lead to stays as it is.
    """
    for path in paths:
        if os.path.islink(path):
            remove_if_there(path)
