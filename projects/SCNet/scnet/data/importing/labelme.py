"""The json files of labelme, one beside each image (https://github.com/wkentaro/labelme)."""

import base64
import binascii
import io
import math
import os
from typing import Iterator, List, Optional, Tuple, Union

import msgspec
import numpy as np

from ..image import BROKEN, open_image
from .files import checked_size, find_files, must_be_folder, name_in, read_json, size_of_image
from .labels import LabelledImage, LabelledObject, Labels, Request, clip_and_place
from .outlines import ellipse

FORM = "--from labelme takes a folder with labelme's json files, one per image."


class Shape(msgspec.Struct):
    """A shape that was drawn."""

    label: str
    points: List[Tuple[float, float]]
    shape_type: str = "polygon"
    group_id: Union[int, str, None] = None
    mask: Optional[str] = None


class LabelmeFile(msgspec.Struct):
    """The parts of a file that are read."""

    shapes: List[Shape]
    imagePath: str
    imageData: Optional[str] = None
    imageHeight: Optional[int] = None
    imageWidth: Optional[int] = None


def read_labelme(request: Request) -> Labels:
    """Read a folder of labelme.

    Raises:
        OSError: there is no such folder.
        ValueError: a json file in it is not of labelme.
    """
    must_be_folder(request.source, FORM)
    root = request.images_folder or request.source
    return Labels(root, [], _read_images(root, request))


def _read_images(root: str, request: Request) -> Iterator[LabelledImage]:
    for path in find_files(request.source, ".json"):
        content = read_json(path, LabelmeFile, "a file of labelme")
        image = content.imagePath.replace("\\", "/")
        if request.images_folder is None:
            image = name_in(root, os.path.join(os.path.dirname(path), image))
        if content.imageData and not os.path.exists(os.path.join(root, image)):
            request.lost[
                "images are only inside of json files (imageData): save them as files"
            ] += 1
        if content.imageHeight and content.imageWidth:
            size = checked_size(content.imageHeight, content.imageWidth, path)
        else:
            size = size_of_image(root, image, path)
        objects = [_read_object(x, size, path, request) for x in content.shapes]
        yield LabelledImage(image, *size, [x for x in objects if x])


def _read_object(
    shape: Shape, size: Tuple[int, int], path: str, request: Request
) -> Optional[LabelledObject]:
    """Make an object of a shape; None if it has no area, which is counted.

    Raises:
        ValueError: it has another number of points than its kind.
    """
    kind, points = shape.shape_type, shape.points
    if kind in ("line", "linestrip", "point", "points"):
        request.lost["points and lines are left out"] += 1
        return None
    name, group = shape.label, shape.group_id
    if kind == "polygon":
        return LabelledObject(name, [[v for point in points for v in point]], group=group)
    if len(points) != 2 or kind not in ("rectangle", "circle", "mask"):
        raise ValueError(f"'{path}' has a shape '{kind}' of {len(points)} points.")
    (x1, y1), (x2, y2) = points
    if kind == "rectangle":
        return LabelledObject(name, box=[min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)])
    if kind == "circle":
        radius = math.hypot(x2 - x1, y2 - y1)
        return LabelledObject(name, [ellipse(x1, y1, radius, radius)], group=group)
    mask = clip_and_place(_decode(shape.mask or "", path), round(x1), round(y1), *size)
    return LabelledObject(name, mask, group=group)


def _decode(text: str, path: str) -> np.ndarray:
    """Decode a PNG in base64 to a mask (h, w) bool.

    Raises:
        ValueError: it is none.
    """
    try:
        with open_image(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            return np.asarray(image.convert("L")) > 0
    except (binascii.Error, *BROKEN) as error:
        raise ValueError(f"'{path}' has a mask that is no PNG in base64: {error}.") from error
