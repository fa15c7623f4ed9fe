"""Reading json files in COCO's format for instances, with errors that name the file."""

import json
from typing import Any, Dict, Iterable, List, TypeGuard, Union

Content = Dict[str, List[Dict]]
Id = Union[int, str]


def read_coco_file(json_file: str) -> Content:
    """Read a json file whose parts, such as "images", are lists of dicts.

    What is in the dicts is not looked at; see :func:`scnet.data.canonical_form.canonical_form` and
    :func:`scnet.data.validation.check_json.check_json`.

    Raises:
        ValueError: the file cannot be read, is no json, or is not in COCO's format as a whole.
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
        content = json.loads(text)
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
        if not all(isinstance(x, dict) for x in content[key]):
            raise ValueError(f"'{key}' in '{json_file}' must hold objects only.")
    return content


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
