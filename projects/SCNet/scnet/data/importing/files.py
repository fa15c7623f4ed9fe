"""Opening the files of labelling tools, with errors that name the file."""

import os
from pathlib import Path
from typing import Iterator, List, Optional, Tuple, Type, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import msgspec

from ..image import IMAGE_SUFFIXES, read_size

T = TypeVar("T")


def read_json(path: str, kind: Type[T], what: str) -> T:
    """Read a json file into classes that say what must be in it.

    Args:
        kind: a type of msgspec.
        what: the file should be, such as "a file of labelme".

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no json, or something else is in it.
    """
    data = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"'{path}' is not {what}: {error}.") from error


def read_lines(path: str) -> List[str]:
    """Read the lines of a text file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not in UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is no text in UTF-8: {error}. Save it in UTF-8.") from error


def read_xml(path: str) -> Element:
    """Read an xml file, which must define no entities: a few lines of these can fill the memory.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no xml, or defines a document type.
    """
    data = Path(path).read_bytes()
    # In all encodings but those with zero bytes it is written in these bytes.
    if b"<!DOCTYPE" in data or b"\0" in data:
        raise ValueError(f"'{path}' has a document type or is not in UTF-8. Remove it, save it so.")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"'{path}' is no xml: {error}.") from error


def text_of(element: Element, name: str, path: str) -> str:
    """The text of a child of an element, or its attribute of that name.

    Raises:
        ValueError: there is neither.
    """
    text = element.get(name, element.findtext(name))
    if text is None:
        raise ValueError(f"'{path}': <{element.tag}> has no '{name}'.")
    return text.strip()


def numbers_of(element: Element, names: str, path: str) -> List[float]:
    """The numbers that children or attributes of an element hold.

    Args:
        names: with spaces between them.

    Raises:
        ValueError: one is missing, or no number.
    """
    texts = [text_of(element, name, path) for name in names.split()]
    try:
        return list(map(float, texts))
    except ValueError as error:
        raise ValueError(f"'{path}': '{names}' of <{element.tag}> are {texts}.") from error


def sizes_of(element: Element, path: str) -> Tuple[int, int]:
    """The height and width that children or attributes of an element hold.

    Raises:
        ValueError: one is missing, or is no size.
    """
    height, width = numbers_of(element, "height width", path)
    return checked_size(height, width, path)


def checked_size(height: float, width: float, path: str) -> Tuple[int, int]:
    """The height and width that a file says an image has, as whole numbers.

    Raises:
        ValueError: no image has that size.
    """
    if not (height >= 1 and width >= 1 and height * width < 2**31):
        raise ValueError(f"'{path}' has an image with height and width {height:g} and {width:g}.")
    return int(height), int(width)


def size_of_image(folder: str, file_name: str, named_in: str) -> Tuple[int, int]:
    """The height and width of an image that annotations name.

    Raises:
        OSError: there is no such image; the message says how to give the folder.
        ValueError: see :func:`read_size`.
    """
    try:
        return read_size(os.path.join(folder, file_name))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"'{named_in}' names the image '{file_name}', which is not in '{folder}'. "
            "--train-images is the folder of the images."
        ) from error


def find_files(folder: str, *suffixes: str) -> Iterator[str]:
    """Find files in a folder and those in it, in the order of their names.

    Args:
        suffixes: such as ".json", in small letters.
    """
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file():
            yield str(path)


def find_images(folder: str) -> Iterator[str]:
    """Find the image files in a folder and those in it."""
    return find_files(folder, *IMAGE_SUFFIXES)


def name_in(folder: str, path: str) -> str:
    """The name of a file as it is seen from a folder, with / on all systems."""
    return os.path.relpath(path, folder).replace(os.sep, "/")


def folder_beside(path: str, name: str = "") -> str:
    """The folder of that name beside a file, if there is one; otherwise that of the file."""
    beside = os.path.dirname(path) or "."
    inner = os.path.join(beside, name)
    return inner if os.path.isdir(inner) else beside


def must_be_folder(path: str, what: str, name: Optional[str] = None) -> None:
    """Make sure that there is a folder, and that it has a file or folder of a name.

    Raises:
        NotADirectoryError: there is none.
        FileNotFoundError: it has none of that name.
    """
    if not os.path.isdir(path):
        raise NotADirectoryError(f"'{path}' is no folder. {what}")
    if name and not os.path.exists(os.path.join(path, name)):
        raise FileNotFoundError(f"'{path}' has no '{name}'. {what}")
