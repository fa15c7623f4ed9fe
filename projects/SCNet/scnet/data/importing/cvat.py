"""The xml of "CVAT for images 1.1" (https://docs.cvat.ai/docs/dataset_management/formats)."""

import os
from typing import Iterator, List, Optional, Tuple
from xml.etree.ElementTree import Element

import numpy as np

from .files import folder_beside, numbers_of, read_xml, sizes_of, text_of
from .labels import LabelledImage, LabelledObject, Labels, Request, clip_and_place
from .outlines import box_around, ellipse

FORM = "Export the task as 'CVAT for images 1.1'."
SHAPES = ("polygon", "mask", "ellipse", "box")
WITHOUT_AREA = ("polyline", "points", "tag", "skeleton", "cuboid")


def read_cvat(request: Request) -> Labels:
    """Read an xml file of CVAT.

    Args:
        request: its source is the file, or a folder with annotations.xml.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such xml.
    """
    path = request.source
    if os.path.isdir(path):
        path = os.path.join(path, "annotations.xml")
    root = read_xml(path)
    if root.tag != "annotations":
        raise ValueError(f"'{path}' begins with <{root.tag}>, not <annotations>. {FORM}")
    if root.find("track") is not None:
        raise ValueError(f"'{path}' has the tracks of a video. {FORM}")
    classes = [text_of(x, "name", path) for x in root.iterfind("meta//labels/label")]
    folder = request.images_folder or folder_beside(path, "images")
    return Labels(folder, classes, (_read_image(x, path, request) for x in root.iterfind("image")))


def _read_image(image: Element, path: str, request: Request) -> LabelledImage:
    size = sizes_of(image, path)
    objects: List[LabelledObject] = []
    depths = set()
    for shape in image:
        if shape.tag in WITHOUT_AREA:
            request.lost[f"shapes <{shape.tag}> are left out"] += 1
            continue
        if shape.tag not in SHAPES:
            raise ValueError(f"'{path}' has a shape <{shape.tag}>, which is not known here.")
        depths.add(shape.get("z_order", "0"))
        if shape.get("occluded", "0") == "1":
            request.lost["objects are marked as occluded, which is left out"] += 1
        request.lost["attributes of objects are left out"] += len(shape.findall("attribute"))
        objects.append(_read_object(shape, size, path))
    if len(depths) > 1:
        request.lost[
            "images have layers (z_order), which are left out: overlapping objects share pixels"
        ] += 1
    return LabelledImage(
        text_of(image, "name", path), *size, objects, (image.get("subset") or "").strip()
    )


def _read_object(shape: Element, size: Tuple[int, int], path: str) -> LabelledObject:
    name, group = text_of(shape, "label", path), _group(shape)
    if shape.tag == "polygon":
        return LabelledObject(name, [list(_points(shape, path))], group=group)
    if shape.tag == "mask":
        return LabelledObject(name, _mask(shape, size, path), group=group)
    degrees = numbers_of(shape, "rotation", path)[0] if shape.get("rotation") else 0.0
    if shape.tag == "ellipse":
        x, y, rx, ry = numbers_of(shape, "cx cy rx ry", path)
        return LabelledObject(name, [ellipse(x, y, rx, ry, degrees)], group=group)
    left, top, right, bottom = numbers_of(shape, "xtl ytl xbr ybr", path)
    box = box_around(left, top, right - left, bottom - top, degrees, about="middle")
    return LabelledObject(name, box=box)


def _group(shape: Element) -> Optional[str]:
    """The number of a group of shapes; None for 0, which is none."""
    number = shape.get("group_id", "0")
    return None if number == "0" else number


def _points(shape: Element, path: str) -> Iterator[float]:
    """The coordinates of "x,y;x,y;...".

    Raises:
        ValueError: one is no number.
    """
    for point in text_of(shape, "points", path).split(";"):
        try:
            x, y = map(float, point.split(","))
        except ValueError as error:
            raise ValueError(f"'{path}' has a polygon with the point '{point[:60]}'.") from error
        yield x
        yield y


def _mask(shape: Element, size: Tuple[int, int], path: str):
    """Make the mask of runs of pixels outside and inside, in the rows of a part of the image.

    Raises:
        ValueError: the runs do not fill that part.
    """
    try:
        left, top, width, height = map(int, numbers_of(shape, "left top width height", path))
        runs = np.array([int(x) for x in text_of(shape, "rle", path).split(",")])
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"'{path}' has a mask whose rle or place is no list of numbers."
        ) from error
    pixels = height * width
    if min(height, width) < 1 or pixels >= 2**31 or runs.min() < 0 or runs.sum() != pixels:
        raise ValueError(
            f"'{path}' has a mask of {width} x {height} pixels, whose rle has {runs.sum()}."
        )
    bitmap = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return clip_and_place(bitmap, left, top, *size)
