"""What all readers of annotations give: images with their objects, and a count of what is lost."""

from collections import Counter
from typing import Hashable, Iterable, List, NamedTuple, Optional

import numpy as np

from ..masks import Segmentation, place


class LabelledObject(NamedTuple):
    """An object, with a mask or a box alone.

    Attributes:
        name: of its class.
        segmentation: polygons [[x1, y1, x2, y2, ...], ...] in pixels, or an RLE.
        box: [x, y, width, height] in pixels, where there is no segmentation.
        group: objects of an image and a class that have the same are one; None is one alone.
    """

    name: str
    segmentation: Optional[Segmentation] = None
    box: Optional[List[float]] = None
    group: Optional[Hashable] = None


class LabelledImage(NamedTuple):
    """An image with its objects.

    Attributes:
        file_name: from the folder of images, with / on all systems.
        height, width: in pixels, as it is seen: turned as its EXIF tag says.
        objects: none if nothing is in it.
        split: the part of the data set that it is said to be in; "" if none is.
    """

    file_name: str
    height: int
    width: int
    objects: List[LabelledObject]
    split: str = ""


class Labels(NamedTuple):
    """What a reader found.

    Attributes:
        images_folder: that the names of images start from.
        classes: in their order; none if the format has no list of them.
        images: are read one by one, so errors may come late.
    """

    images_folder: str
    classes: List[str]
    images: Iterable[LabelledImage]


class Request(NamedTuple):
    """What a reader is asked for.

    Attributes:
        source: path of the file or folder of the annotations.
        images_folder: None for the place that is usual for the format.
        class_attribute: the attribute of regions that is the class; for formats that have none.
        lost: gets, by the end of a sentence that begins with a number, how much is lost.
    """

    source: str
    images_folder: Optional[str]
    class_attribute: Optional[str]
    lost: "Counter[str]"


def clip_and_place(
    bitmap: np.ndarray, left: int, top: int, height: int, width: int
) -> Segmentation:
    """Make the mask of an image from that of a part of it.

    Args:
        bitmap: (h, w) bool; what is outside the image is cut off.
        left, top: its place in the image, in pixels.
        height, width: of the image.
    """
    x, y = min(max(left, 0), width), min(max(top, 0), height)
    inside = bitmap[y - top : max(height - top, 0), x - left : max(width - left, 0)]
    return place(inside, x, y, height, width)
