"""What exists is not written over unasked, and not at all where a link leads elsewhere."""

import os
from contextlib import contextmanager
from typing import IO, Any, Iterator, Optional, Sequence, Union


def refuse_to_replace(paths: Sequence[Union[str, os.PathLike]]) -> None:
    """Make sure that none of the files is there.

    Raises:
        FileExistsError: one is.
    """
    existing = [path for path in paths if os.path.exists(path)]
    if existing:
        raise FileExistsError(
            f"'{existing[0]}' and {len(existing) - 1} more exist already. Choose another place, or "
            "add --overwrite."
        )


@contextmanager
def written_aside(path: str, newline: Optional[str] = None) -> Iterator[IO[Any]]:
    """Open a text file that gets its name when it is whole; what has the name is replaced.

    A link of that name is replaced as well, and the file that it leads to stays as it is.

    Raises:
        OSError: the file cannot be written. What was there before is unchanged.
    """
    aside = f"{path}.new"
    remove_if_there(aside)
    with open(aside, "x", encoding="utf-8", newline=newline) as f:  # "x" follows no link
        yield f
    os.replace(aside, path)


def remove_if_there(path: str) -> None:
    """Remove a file that a killed process may have left, or a link, but not what it leads to."""
    if os.path.lexists(path):
        os.remove(path)


def refuse_links(folder: str, names: Sequence[str]) -> None:
    """Make sure that what is written or appended to files of these names stays in the folder.

    Raises:
        FileExistsError: one is a link.
    """
    links = [name for name in names if os.path.islink(os.path.join(folder, name))]
    if links:
        raise FileExistsError(
            f"'{os.path.join(folder, links[0])}' is a link, so that another file would be written "
            "to. Remove it, or choose another folder."
        )
