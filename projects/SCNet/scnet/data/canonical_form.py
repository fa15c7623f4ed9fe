"""Bringing a COCO json file into COCO's own forms, where tools write others that mean the same.

Nothing is lost: what cannot be converted stays, and :mod:`scnet.data.validation` reports it.
"""

import ast
import math
import re
from itertools import chain
from typing import (
    Annotated,
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Literal,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import msgspec

from .coco_file import Entry, Id, cut, is_id

NUMBERS = {int, float}
WHOLE = re.compile(r"\s*[+-]?[0-9]{1,30}(\.0*)?\s*")
DECIMAL = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*")
IS_CROWD = {False: 0, True: 1, None: 0, "0": 0, "1": 1}  # 0.0 and 1.0 are equal to False and True


class PlainAnnotation(msgspec.Struct, gc=False):
    """The part of an annotation that is looked at, with the types that COCO documents.

    Values of other types are an error: msgspec converts nothing but integers, to floats.
    """

    id: Union[int, Annotated[str, msgspec.Meta(min_length=1)]]
    image_id: Id
    category_id: Id
    bbox: Annotated[List[float], msgspec.Meta(min_length=4, max_length=4)]
    iscrowd: Literal[0, 1] = 0
    ignore: Union[bool, int, None] = None
    area: Annotated[float, msgspec.Meta(gt=0, lt=1e15)] = 1.0
    # An RLE may be anything: whoever meets one takes the dict.
    segmentation: Union[List[Annotated[List[float], msgspec.Meta(min_length=6)]], Dict, None] = None

    def get(self, key: str) -> Any:
        """Get a value by its key, a field of this class; by default what a missing one means."""
        return getattr(self, key)


_decode_list = msgspec.json.Decoder(List[PlainAnnotation]).decode


class CanonicalForm:
    """Converts the values of a COCO json file to the forms that COCO documents.

    - Ids, heights, widths and "iscrowd" become integers: 1.0 is 1, and so are "1" and true, but
      ids of images and categories that are text stay text. References to them follow.
    - Names of classes become text, coordinates numbers.
    - A polygon may be a list of points [[x, y], ...], and a mask of one polygon or RLE may be that
      alone, or in a list. The counts of an RLE may be what Python prints of bytes: "b'...'".

    Attributes:
        images, categories: in COCO's form.
    """

    def __init__(self, images: List[Dict], categories: List[Dict]) -> None:
        """Convert images and categories.

        Args:
            images, categories: of a file, see :func:`scnet.data.coco_file.read_coco_file`; are not
                changed.
        """
        self._counts: Dict[str, int] = {}
        self._examples: Dict[str, str] = {}
        self._few_are_plain = False
        of_category = (("id", _id, "ids"), ("name", _name, "names of classes"))
        of_image = (("id", _id, "ids"), ("height", _whole, "sizes"), ("width", _whole, "sizes"))
        self.categories = [self._apply(x, of_category) for x in categories]
        self.images = [self._apply(x, of_image) for x in images]
        find_image, find_category = _Reference(self.images), _Reference(self.categories)
        self._image_ids, self._category_ids = find_image.ids, find_category.ids
        self._of_annotation = (
            ("id", _id, "ids"),
            ("image_id", find_image, "ids"),
            ("category_id", find_category, "ids"),
            ("iscrowd", _iscrowd, "'iscrowd'"),
            ("bbox", _numbers, "boxes"),
            ("segmentation", _segmentation, "masks"),
        )

    def convert(self, annotation: Dict) -> Dict:
        """Convert an annotation.

        Returns:
            a copy; the annotation itself if nothing is to be converted.
        """
        return self._apply(annotation, self._of_annotation)

    def read_plain(self, entries: List[Entry]) -> List[Optional[PlainAnnotation]]:
        """Read the annotations that are like almost all of a good file.

        There is nothing to convert in these, and nothing wrong with them but perhaps their
        coordinates and an id that another has. They have polygons or no mask. Where few are so,
        looking for them takes longer than it saves, and none is found any more.

        Args:
            entries: text or dicts, as they are in the file.

        Returns:
            None in the place of each other one.
        """
        if self._few_are_plain:
            return [None] * len(entries)
        found = [x if x and self._is_plain(x) else None for x in _read_all(entries)]
        self._few_are_plain = 2 * found.count(None) > len(found)
        return found

    def _is_plain(self, x: PlainAnnotation) -> bool:
        """Whether it needs no conversion, see :meth:`read_plain`."""
        return (
            x.image_id in self._image_ids
            and x.category_id in self._category_ids
            and not x.ignore
            and type(x.segmentation) is not dict
        )

    def sentences(self) -> List[str]:
        """A sentence about each kind of conversion until now."""
        return [
            f"{count} {kind} are not in COCO's form, such as {self._examples[kind]}. They are read."
            for kind, count in self._counts.items()
        ]

    def _apply(self, entry: Dict, conversions: Iterable[Tuple]) -> Dict:
        """Convert some values of an image, a category or an annotation, and count them by kind."""
        new = {}
        for key, convert, kind in conversions:
            if key not in entry:
                continue
            value, converted = entry[key], convert(entry[key])
            if converted is not value:
                new[key] = converted
                self._counts[kind] = self._counts.get(kind, 0) + 1
                self._examples.setdefault(kind, f"{cut(value)} for {cut(converted)}")
        return {**entry, **new} if new else entry


def _read_all(entries: List[Entry]) -> Sequence[Optional[PlainAnnotation]]:
    """Read annotations, all at once where that can be; None if values have other types."""
    try:
        if isinstance(entries[0], dict):
            return msgspec.convert(entries, List[PlainAnnotation])
        return _decode_list(b"[" + b",".join(entries) + b"]")  # type: ignore[arg-type]
    except msgspec.DecodeError:
        half = len(entries) // 2
        return [*_read_all(entries[:half]), *_read_all(entries[half:])] if half else [None]


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
