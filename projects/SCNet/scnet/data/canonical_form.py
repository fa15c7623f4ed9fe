"""Bringing a COCO json file into COCO's own forms, where tools write others that mean the same.

Nothing is lost: what cannot be converted stays, and :mod:`scnet.data.validation` reports it.
"""

import ast
import math
import re
from itertools import chain
from typing import Any, Callable, Dict, Iterable, List, Set, Tuple

from .coco_file import Content, Id, cut, is_id

NUMBERS = {int, float}
WHOLE = re.compile(r"\s*[+-]?[0-9]{1,30}(\.0*)?\s*")
DECIMAL = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*")
IS_CROWD = {False: 0, True: 1, None: 0, "0": 0, "1": 1}  # 0.0 and 1.0 are equal to False and True


def canonical_form(content: Content) -> Tuple[Content, List[str]]:
    """Convert the values of a COCO json file to the forms that COCO documents.

    - Ids, heights, widths and "iscrowd" become integers: 1.0 is 1, and so are "1" and true, but
      ids of images and categories that are text stay text. References to them follow.
    - Names of classes become text, coordinates numbers.
    - A polygon may be a list of points [[x, y], ...], and a mask of one polygon or RLE may be that
      alone, or in a list. The counts of an RLE may be what Python prints of bytes: "b'...'".

    Args:
        content: of a file, from :func:`scnet.data.coco_file.read_coco_file`; is not changed.

    Returns:
        the content in COCO's form, and a sentence about each kind of conversion.
    """
    changes = _Changes()
    categories = [
        changes.apply(x, (("id", _id, "ids"), ("name", _name, "names of classes")))
        for x in content["categories"]
    ]
    of_image = (("id", _id, "ids"), ("height", _whole, "sizes"), ("width", _whole, "sizes"))
    images = [changes.apply(x, of_image) for x in content["images"]]
    find_image, find_category = _Reference(images), _Reference(categories)
    of_annotation = (
        ("id", _id, "ids"),
        ("image_id", find_image, "ids"),
        ("category_id", find_category, "ids"),
        ("iscrowd", _iscrowd, "'iscrowd'"),
        ("bbox", _numbers, "boxes"),
        ("segmentation", _segmentation, "masks"),
    )
    converted = {**content, "images": images, "categories": categories}
    if "annotations" in content:
        converted["annotations"] = [changes.apply(x, of_annotation) for x in content["annotations"]]
    return converted, changes.sentences()


class _Changes:
    """Converts values, and counts what was converted by kind."""

    def __init__(self) -> None:
        self.counts: Dict[str, int] = {}
        self.examples: Dict[str, str] = {}

    def apply(self, entry: Dict, conversions: Iterable[Tuple]) -> Dict:
        """Convert some values of an image, a category or an annotation.

        Returns:
            a copy; the entry itself if nothing is to be converted.
        """
        new = {}
        for key, convert, kind in conversions:
            if key not in entry:
                continue
            value, converted = entry[key], convert(entry[key])
            if converted is not value:
                new[key] = converted
                self.counts[kind] = self.counts.get(kind, 0) + 1
                self.examples.setdefault(kind, f"{cut(value)} for {cut(converted)}")
        return {**entry, **new} if new else entry

    def sentences(self) -> List[str]:
        return [
            f"{count} {kind} are not in COCO's form, such as {self.examples[kind]}. They are read."
            for kind, count in self.counts.items()
        ]


class _Reference:
    """Converts the ids that refer to images or categories to those that these have."""

    def __init__(self, entries: Iterable[Dict]) -> None:
        self.ids: Set[Id] = {x["id"] for x in entries if is_id(x.get("id"))}

    def __call__(self, value: Any) -> Any:
        if is_id(value) and value in self.ids:
            return value
        found = _id(value)
        if not is_id(found) or found in self.ids:
            return found
        other = str(found) if isinstance(found, int) else _whole(found)
        return other if other in self.ids else found


def _id(value: Any) -> Any:
    """Convert an id that is a number; text stays."""
    return value if isinstance(value, str) else _whole(value)


def _name(value: Any) -> Any:
    """Convert the name of a class that looks like a number to text."""
    is_number = type(value) in NUMBERS and math.isfinite(value)
    return str(_whole(value)) if is_number else value


def _iscrowd(value: Any) -> Any:
    converts = value is None or isinstance(value, (bool, float, str))
    return IS_CROWD.get(value, value) if converts else value


def _whole(value: Any) -> Any:
    """Convert a whole number. Beyond 2^53 a float stands for several, and stays."""
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if type(value) is str and WHOLE.fullmatch(value):
        return int(value.split(".")[0])
    return value


def _number(value: Any) -> Any:
    return float(value) if type(value) is str and DECIMAL.fullmatch(value) else value


def _each(convert: Callable[[Any], Any], values: List) -> List:
    """Convert the values of a list; the list itself if all stay."""
    converted = list(map(convert, values))
    return converted if any(a is not b for a, b in zip(converted, values)) else values


def _numbers(values: Any) -> Any:
    """Convert the numbers of a list that are text."""
    is_fine = type(values) is not list or set(map(type, values)) <= NUMBERS
    return values if is_fine else _each(_number, values)


def _segmentation(value: Any) -> Any:
    """Convert a mask: an RLE or a list of polygons."""
    if type(value) is list and len(value) == 1 and type(value[0]) is dict:
        value = value[0]
    if type(value) is dict:
        return _rle(value)
    if type(value) is not list or not value:
        return value
    kinds = set(map(type, value))
    if list not in kinds:
        return [_numbers(value)]
    if kinds != {list}:
        return value
    return _each(_polygon, [value] if len(value) > 2 and _are_points(value) else value)


def _polygon(values: List) -> List:
    return _numbers(list(chain.from_iterable(values)) if _are_points(values) else values)


def _are_points(values: List) -> bool:
    """Whether all values of a list are lists of two numbers."""
    is_nested = bool(values) and type(values[0]) is list
    return is_nested and all(
        type(x) is list and len(x) == 2 and list not in map(type, x) for x in values
    )


def _rle(rle: Dict) -> Dict:
    new = dict(rle)
    for key in ("size", "counts"):
        value = rle.get(key)
        if type(value) is list and set(map(type, value)) != {int}:
            new[key] = _each(_whole, value)
        elif key == "counts" and type(value) is str and value.startswith(("b'", 'b"')):
            try:  # a packed RLE itself has no quotation marks
                new[key] = ast.literal_eval(value).decode("ascii")
            except (SyntaxError, ValueError):
                continue
    return new if any(new[key] is not rle[key] for key in rle) else rle
