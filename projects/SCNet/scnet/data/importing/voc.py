"""Folders in the form of Pascal VOC, whose masks are pictures, with a colour per object.

``SegmentationObject/a.png`` says which pixels are of which object, ``SegmentationClass/a.png`` of
which class, ``JPEGImages/a.jpg`` is the image, and ``Annotations/a.xml`` has the boxes. The form is
that of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import numpy as np

from ..image import BROKEN, describe, open_image
from ..masks import encode
from .files import (
    find_files,
    find_images,
    must_be_folder,
    name_in,
    numbers_of,
    read_lines,
    read_xml,
    size_of_image,
    text_of,
)
from .labels import LabelledImage, LabelledObject, Labels, Request

FORM = "--from voc takes a folder with JPEGImages, SegmentationObject and SegmentationClass."
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
FLAGS = ("difficult", "truncated", "occluded")


def colour(number: int) -> Tuple[int, int, int]:
    """The colour of a class or an object: bits of the number are high bits of red, green, blue."""
    channels = [0, 0, 0]
    for place in range(8):
        for k in range(3):
            channels[k] |= (number >> (3 * place + k) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


def code(red: int, green: int, blue: int) -> int:
    """A colour as one number."""
    return red << 16 | green << 8 | blue


PALETTE = [x for number in range(256) for x in colour(number)]
NOTHING = (code(*colour(0)), code(*colour(255)))  # the background, and borders that are of no class


def read_voc(request: Request) -> Labels:
    """Read a folder in the form of Pascal VOC.

    Raises:
        OSError: a folder or a file is not there.
        ValueError: a file in it cannot be read.
    """
    folder = request.source
    must_be_folder(folder, FORM)
    root = request.images_folder or os.path.join(folder, "JPEGImages")
    must_be_folder(root, FORM)
    labelmap = os.path.join(folder, "labelmap.txt")
    listed = _read_labelmap(labelmap) if os.path.exists(labelmap) else {}
    classes = listed or {code(*colour(k)): name for k, name in enumerate(CLASSES, 1)}
    paths = {Path(path).stem: path for path in find_images(root)}

    def read() -> Iterator[LabelledImage]:
        for stem, split in _list_images(folder).items():
            if stem not in paths:
                raise FileNotFoundError(f"'{root}' has no image '{stem}', which has annotations.")
            name = name_in(root, paths[stem])
            size = size_of_image(root, name, folder)
            objects = _read_objects(folder, stem, size, classes, request)
            yield LabelledImage(name, *size, objects, split)

    return Labels(root, list(listed.values()), read())


def _read_labelmap(path: str) -> Dict[int, str]:
    """Read lines "name:red,green,blue:parts:actions": the names by the codes of their colours.

    Without a colour, it is that of the number of the line, from 0 for the background.

    Raises:
        ValueError: a line has another form.
    """
    classes = {}
    lines = read_lines(path)
    for k, line in enumerate(x for x in lines if x.strip() and not x.startswith("#")):
        try:
            name, channels, *_ = line.split(":")
            number = code(*(map(int, channels.split(",")) if channels else colour(k)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"'{path}' has the line '{line[:60]}', no 'name:r,g,b::'.") from error
        if number not in NOTHING:
            classes[number] = name
    return classes


def _list_images(folder: str) -> Dict[str, str]:
    """The names of the annotated images, and the list that each is in; "" if there are no lists."""
    lists = os.path.join(folder, "ImageSets", "Segmentation")
    paths = list(find_files(lists, ".txt"))
    if len(paths) > 1:  # it repeats two others
        paths = [x for x in paths if Path(x).stem != "trainval"]
    if paths:
        found: Dict[str, str] = {}
        for path in paths:
            for line in filter(None, map(str.strip, read_lines(path))):
                found.setdefault(line, Path(path).stem)
        return found
    places = [("SegmentationObject", ".png"), ("Annotations", ".xml")]
    stems = (
        Path(x).stem for name, end in places for x in find_files(os.path.join(folder, name), end)
    )
    return dict.fromkeys(sorted(set(stems)), "")


def _read_objects(
    folder: str, stem: str, size: Tuple[int, int], classes: Dict[int, str], request: Request
) -> List[LabelledObject]:
    xml = os.path.join(folder, "Annotations", f"{stem}.xml")
    boxes = read_boxes(xml, request.lost) if os.path.exists(xml) else []
    path, of_classes = (
        os.path.join(folder, kind, f"{stem}.png")
        for kind in ("SegmentationObject", "SegmentationClass")
    )
    if not os.path.exists(path):
        return boxes
    numbers, colours = _read_colours(path, size), _read_colours(of_classes, size)
    objects = []
    for number in np.unique(numbers):
        if number in NOTHING:
            continue
        mask = numbers == number
        [(most, _)] = Counter(colours[mask].tolist()).most_common(1)
        if most not in classes:
            raise ValueError(
                f"'{of_classes}' has the colour {most:06x}, which is no class. labelmap.txt must "
                "have it, as 'name:red,green,blue::'."
            )
        objects.append(LabelledObject(classes[most], encode(mask)))
    more = len(boxes) - len(objects)
    request.lost["boxes are left out, as their images have masks of other objects"] += max(more, 0)
    return objects


def read_boxes(path: str, lost: "Counter[str]") -> List[LabelledObject]:
    """Read the boxes of an xml file.

    Args:
        lost: see :class:`Request`.

    Raises:
        ValueError: it is no xml, or has an object without a class or box.
    """
    boxes = []
    for x in read_xml(path).iterfind("object"):
        for flag in FLAGS:
            if (x.findtext(flag) or "0").strip() == "1":
                lost[f"objects are marked as {flag}, which is left out"] += 1
        element = x.find("bndbox")
        if element is None:
            raise ValueError(f"'{path}' has an object without <bndbox>.")
        x1, y1, x2, y2 = numbers_of(element, "xmin ymin xmax ymax", path)
        box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]  # the first pixel is 1, the last inside
        boxes.append(LabelledObject(text_of(x, "name", path), box=box))
    return boxes


def _read_colours(path: str, size: Tuple[int, int]) -> np.ndarray:
    """Read a picture as the codes (H, W) of its colours.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no image, or has another size than it should have.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"'{path}' does not exist. {FORM}")
    try:
        with open(path, "rb") as f, open_image(f) as image:
            if image.mode == "L":  # numbers of colours, without the colours
                image.putpalette(PALETTE)
            pixels = np.asarray(image.convert("RGB"), np.int32)
    except BROKEN as error:
        raise ValueError(f"Cannot read image '{path}': {describe(error)}") from error
    if pixels.shape[:2] != size:
        raise ValueError(f"'{path}' has height and width {pixels.shape[:2]}, but its image {size}.")
    return pixels @ [1 << 16, 1 << 8, 1]
