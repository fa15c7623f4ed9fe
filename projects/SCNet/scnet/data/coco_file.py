"""Reading json files in COCO's format for instances, with errors that name the file."""

import json
from typing import Any, Dict, Iterable, List, TypeGuard, Union

import msgspec

Content = Dict[str, List[Dict]]
Id = Union[int, str]
Entry = Union[msgspec.Raw, Dict]  # an annotation; most are still text, which takes little memory

_members = msgspec.json.Decoder(Dict[str, msgspec.Raw]).decode
_entries = msgspec.json.Decoder(List[msgspec.Raw]).decode
_value = msgspec.json.Decoder().decode


def read_coco_file(json_file: str) -> Dict[str, Any]:
    """Read a json file whose parts, such as "images", are lists of dicts.

    What is in the dicts is not looked at; see :mod:`scnet.data.canonical_form` and
    :func:`scnet.data.validation.check_json.check_json`.

    Returns:
        the parts. The "annotations", if there are any, are for :func:`decode`.

    Raises:
        ValueError: the file cannot be read, is no json, or is not in COCO's format as a whole.
    """
    try:
        with open(json_file, "rb") as file:
            content = _parse_strictly(file.read())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = _parse_as_python(json_file)
    if not isinstance(content, dict):
        raise ValueError(
            f"'{json_file}' holds a {type(content).__name__}, but a COCO file is one object with "
            "'images', 'annotations' and 'categories'."
        )
    for key in ("images", "categories", "annotations"):
        if key not in content:
            if key == "annotations":  # a test set may have none
                continue
            raise ValueError(
                f"'{json_file}' has no '{key}', only {sorted(content)}. Is it in COCO's format?"
            )
        if not isinstance(content[key], list):
            raise ValueError(
                f"'{key}' in '{json_file}' must be a list, not a {type(content[key]).__name__}."
            )
        if not all(map(_is_object, content[key])):
            raise ValueError(f"'{key}' in '{json_file}' must hold objects only.")
    return content


def decode(entry: Entry) -> Dict:
    """Make an annotation; a number that no float can hold is infinite, as Python reads it."""
    if isinstance(entry, dict):
        return entry
    try:
        return _value(entry)
    except msgspec.DecodeError:
        return json.loads(bytes(entry))


def _parse_strictly(data: bytes) -> Any:
    """Read strict json without making the annotations, which are almost all of a COCO file.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is for :func:`_parse_as_python`.
    """
    if not data.isascii():
        data.decode()  # what stays text is not looked at below
    parts = _members(data)
    return {key: (_entries if key == "annotations" else _value)(parts[key]) for key in parts}


def _parse_as_python(json_file: str) -> Any:
    """Read what Python takes for json, such as NaN, or say what is wrong with it.

    Raises:
        ValueError: the file is not in UTF-8, or no json.
    """
    try:
        with open(json_file, encoding="utf-8") as f:
            text = f.read()
        if text.startswith("\ufeff"):
            raise ValueError(
                f"'{json_file}' starts with a byte order mark. Save it in UTF-8 without one."
            )
        if not text.strip():
            raise ValueError(f"'{json_file}' is empty. It must hold json in COCO's format.")
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"'{json_file}' is no text in UTF-8: {error}. Save it in UTF-8."
        ) from error
    except json.JSONDecodeError as error:
        if _is_ndjson(text):
            raise ValueError(
                f"'{json_file}' holds a json object per line, but a COCO file is one object with "
                "'images', 'annotations' and 'categories'. Export it as COCO json."
            ) from error
        raise ValueError(f"'{json_file}' is no json: {error}. Is it cut off?") from error
    except RecursionError as error:
        raise ValueError(f"'{json_file}' is nested too deeply for a COCO file.") from error


def _is_object(x: Any) -> bool:
    return isinstance(x, dict) or (isinstance(x, msgspec.Raw) and bytes(x).startswith(b"{"))


def _is_ndjson(text: str) -> bool:
    """Whether a text holds json objects line by line."""
    lines = text.split("\n", 2)[:2]
    try:
        return len(lines) == 2 and all(isinstance(json.loads(x), dict) for x in lines)
    except (json.JSONDecodeError, RecursionError):
        return False


def is_id(x: Any) -> TypeGuard[Id]:
    """Whether something can be an id: a whole number of any size, or text."""
    return type(x) is int or (type(x) is str and x != "")


def kind_of_ids(known: Iterable[Id]) -> str:
    """Name the kind of some ids, which is that of the first: "integer" or "text"."""
    return "text" if isinstance(next(iter(known), 0), str) else "integer"


def cut(value: Any, length: int = 60) -> str:
    """Write a value of the json as Python does, cut after some characters."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."
