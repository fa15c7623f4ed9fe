"""The json of VGG Image Annotator 2 (https://www.robots.ox.ac.uk/~vgg/software/via), or 1."""

import math
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

import msgspec

from .files import folder_beside, read_json, size_of_image
from .labels import LabelledImage, LabelledObject, Labels, Request
from .outlines import ellipse

FORM = "--from via takes 'Annotations, Export as json' of VIA 2, or a project of it."


class Region(msgspec.Struct):
    """A shape that was drawn, and what was said about it."""

    shape_attributes: Dict[str, Any]
    region_attributes: Dict[str, Any]


class ViaImage(msgspec.Struct):
    """An image with its regions, a list, or in VIA 1 a dict."""

    filename: str
    regions: Union[List[Region], Dict[str, Region]] = []


class Outline(msgspec.Struct):
    """The numbers of a shape; which ones it has depends on its kind."""

    all_points_x: List[float] = []
    all_points_y: List[float] = []
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    cx: float = 0
    cy: float = 0
    r: float = 0
    rx: float = 0
    ry: float = 0
    theta: float = 0  # in radians


def read_via(request: Request) -> Labels:
    """Read a json file of VIA.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such json; or it does not say which attribute is the class.
    """
    path = request.source
    content = read_json(path, Dict[str, msgspec.Raw], "a file of VIA 2")
    if "metadata" in content and "project" in content:
        raise ValueError(f"'{path}' is of VIA 3. {FORM}")
    try:
        inner = content.get("_via_img_metadata")
        if inner is not None:
            content = msgspec.json.decode(inner, type=Dict[str, msgspec.Raw])
        images = [msgspec.json.decode(x, type=ViaImage) for x in content.values()]
    except msgspec.DecodeError as error:
        raise ValueError(f"'{path}' is not a file of VIA 2: {error}. {FORM}") from error
    regions = [
        list(x.regions.values() if isinstance(x.regions, dict) else x.regions) for x in images
    ]
    attribute = _class_attribute(regions, request)
    folder = request.images_folder or folder_beside(path)

    def read() -> Iterator[LabelledImage]:
        for image, of_image in zip(images, regions):
            size = size_of_image(folder, image.filename, path)
            objects = [_read_object(x, attribute, image.filename, request) for x in of_image]
            yield LabelledImage(image.filename, *size, [x for x in objects if x])

    return Labels(folder, [], read())


def _class_attribute(regions: List[List[Region]], request: Request) -> str:
    """The attribute that is the class: that of the request, or the only one.

    Raises:
        ValueError: there are none or several, or not the one that was asked for.
    """
    names = sorted({name for xs in regions for x in xs for name in x.region_attributes})
    asked = request.class_attribute
    if asked in names or (asked is None and len(names) == 1):
        request.lost["attributes of regions that are not the class are left out"] += sum(
            len(x.region_attributes) - 1 for xs in regions for x in xs if x.region_attributes
        )
        return asked or names[0]
    if asked is None and not any(regions):
        return ""  # there is nothing to name
    raise ValueError(
        f"'{request.source}': the regions have the attributes {names}, "
        + (f"not '{asked}'. " if asked else "and one of them must be the class. ")
        + "Choose it with --class-attribute NAME."
    )


def _read_object(
    region: Region, attribute: str, image: str, request: Request
) -> Optional[LabelledObject]:
    """Make an object of a region; None if it has no area, which is counted.

    Raises:
        ValueError: it has no class, or numbers that its kind of shape cannot have.
    """
    kind = region.shape_attributes.get("name")
    if kind in ("point", "polyline"):
        request.lost["points and lines are left out"] += 1
        return None
    try:
        shape = msgspec.convert(region.shape_attributes, Outline)
    except msgspec.ValidationError as error:
        raise ValueError(f"'{request.source}': a region of '{image}': {error}.") from error
    name = _class_of(region.region_attributes.get(attribute), attribute, image, request)
    if kind == "rect":
        return LabelledObject(name, box=[shape.x, shape.y, shape.width, shape.height])
    if kind == "polygon" and len(shape.all_points_x) == len(shape.all_points_y):
        points: Iterator[Tuple[float, float]] = zip(shape.all_points_x, shape.all_points_y)
        return LabelledObject(name, [[v for point in points for v in point]])
    if kind == "circle":
        return LabelledObject(name, [ellipse(shape.cx, shape.cy, shape.r, shape.r)])
    if kind == "ellipse":
        return LabelledObject(
            name, [ellipse(shape.cx, shape.cy, shape.rx, shape.ry, math.degrees(shape.theta))]
        )
    raise ValueError(f"'{request.source}': a region of '{image}' has the shape {kind!r}.")


def _class_of(value: Any, attribute: str, image: str, request: Request) -> str:
    """The class of a region: text, or the one of several check boxes that is set.

    Raises:
        ValueError: there is none, or several are set.
    """
    chosen = [k for k, on in value.items() if on] if isinstance(value, dict) else [value]
    if len(chosen) != 1 or not isinstance(chosen[0], str) or not chosen[0].strip():
        raise ValueError(
            f"'{request.source}': a region of '{image}' has {value!r} as its '{attribute}', which "
            "names no class. Choose one in VIA."
        )
    return chosen[0].strip()
