"""Files are whole or not there: they are written beside their place, and then take it.

So a process that is killed and a full disk leave no half of a file, and a link that lies at the
place of an output is replaced, and what it leads to stays as it is.
"""

import os
from contextlib import contextmanager, suppress
from typing import IO, Any, Dict, Iterator, Optional

import cv2
import numpy as np


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Within it, an OSError says which file could not be written.

    Raises:
        OSError: in place of the one that came.
    """
    try:
        yield
    except OSError as error:
        raise OSError(f"Could not write '{path}': {error.strerror or error}.") from error


def remove_if_there(path: str) -> None:
    """Remove a file that a killed process may have left, or a link, but not what it leads to."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def place_beside(path: str) -> str:
    """Get the name under which a file is written until it is whole; its folder is made.

    What lies there is of a process that was killed, and is removed.
    """
    folder, name = os.path.split(path)
    stem, ending = os.path.splitext(name)
    os.makedirs(folder or ".", exist_ok=True)
    beside = os.path.join(folder, f".{stem}.part{ending}")
    remove_if_there(beside)
    return beside


@contextmanager
def whole_file(path: str, binary: bool = False, newline: Optional[str] = None) -> Iterator[IO[Any]]:
    """Open a file that gets its name when it is whole, and make its folder.

    A file or a link of that name is replaced then; after an error it is unchanged.

    Args:
        path: of the file.
        binary: bytes are written; otherwise text in UTF-8.
        newline: see :func:`open`.

    Raises:
        OSError: it cannot be written; the message names it.
    """
    with naming(path):
        beside = place_beside(path)
        try:
            options: Dict[str, Any] = {} if binary else {"encoding": "utf-8", "newline": newline}
            with open(beside, "xb" if binary else "x", **options) as f:  # "x" follows no link
                yield f
            os.replace(beside, path)
        except BaseException:
            remove_if_there(beside)
            raise


def write_whole(path: str, content: bytes) -> None:
    """Write a file; see :func:`whole_file`."""
    with whole_file(path, binary=True) as f:
        f.write(content)


def write_png(path: str, pixels: np.ndarray) -> None:
    """Write an image, (H, W) or (H, W, 3) in BGR order, of 8 or 16 bits; see :func:`write_whole`.

    The name of the file never goes to OpenCV, which crashes where it is not in UTF-8.
    """
    there, content = cv2.imencode(".png", pixels)
    if not there:
        raise OSError(f"Could not write '{path}': {pixels.shape} {pixels.dtype} is no PNG.")
    write_whole(path, content.tobytes())
