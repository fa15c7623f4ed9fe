"""Making the target of the semantic branch for one image, from one of three sources.

Shapes: (H, W) the size of the image in pixels. A target is uint8 (H, W), per pixel a class or the
value to ignore. ``MODEL.SCNET.SEMANTIC.SOURCE`` chooses the source:

- "stuffthingmaps": a PNG per image whose values are the classes;
- "panoptic": Detectron2's and COCO's panoptic PNG, with the segments of the image;
- "instances": the objects themselves, and one class for the background.
"""

from typing import Dict, List, Sequence, Tuple

import numpy as np
from detectron2.utils.file_io import PathManager
from pycocotools import mask as mask_util

from ..config import MAX_PIXELS
from .image import BROKEN, describe, limit_of_pixels, open_image
from .masks import area, to_rle

BACKGROUND = "background"
SOURCES = ("stuffthingmaps", "panoptic", "instances", "none")


def read_png(
    file_name: str,
    modes: Sequence[str],
    expected: str,
    size: Tuple[int, int],
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a PNG of labels.

    Args:
        file_name: of the PNG.
        modes: the modes of Pillow that are allowed.
        expected: what they mean, for the message.
        size: height and width of the image that it belongs to.
        max_pixels: INPUT.MAX_PIXELS.

    Raises:
        ValueError: the file cannot be read, is no PNG, has another mode or size, or more than
            ``max_pixels``; the message names it.
    """
    try:
        with (
            limit_of_pixels(max_pixels),
            PathManager.open(file_name, "rb") as f,
            open_image(f) as png,
        ):
            kind, mode, labels = png.format, png.mode, np.asarray(png)
    except BROKEN as error:
        raise ValueError(f"Cannot read semantic map '{file_name}': {describe(error)}") from error
    if kind != "PNG":  # JPEG changes the values
        raise ValueError(f"Semantic map '{file_name}' is no PNG but {kind}. Make it from labels.")
    if mode not in modes:
        raise ValueError(f"Semantic map '{file_name}' has mode {mode}. It must have {expected}.")
    if labels.shape[:2] != tuple(size):
        raise ValueError(
            f"Semantic map '{file_name}' has height and width {labels.shape[:2]}, its image "
            f"{tuple(size)}."
        )
    return labels


def from_stuffthingmap(
    file_name: str,
    size: Tuple[int, int],
    num_classes: int,
    ignore_value: int,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read and check a semantic map.

    Args:
        file_name: a PNG of one channel, each pixel a class or the value to ignore.
        size: height and width of the image.
        max_pixels: INPUT.MAX_PIXELS.

    Raises:
        ValueError: see :func:`read_png`; or the map has values that are no class.
    """
    expected = "a single channel of 8 bits, in which each pixel's value is its class"
    # In a palette image the indices are the classes.
    target = read_png(file_name, ("L", "P"), expected, size, max_pixels)
    wrong = target[(target >= num_classes) & (target != ignore_value)]
    if len(wrong):
        raise ValueError(
            f"Semantic map '{file_name}' has values {np.unique(wrong).tolist()}. Classes are 0 to "
            f"{num_classes - 1} (MODEL.SEM_SEG_HEAD.NUM_CLASSES), and "
            f"{ignore_value} is ignored (MODEL.SEM_SEG_HEAD.IGNORE_VALUE)."
        )
    return target


def from_panoptic(
    file_name: str,
    segments: List[Dict],
    size: Tuple[int, int],
    ignore_value: int,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a panoptic PNG; pixels of no segment are ignored.

    Args:
        file_name: a PNG whose pixels are ids: red + 256 green + 65536 blue; 0 is no segment.
        segments: of the image, each with "id" and "category_id", the class.
        size: height and width of the image.
        max_pixels: INPUT.MAX_PIXELS.

    Raises:
        ValueError: see :func:`read_png`; or the map has ids that are no segment.
    """
    expected = "the three channels of COCO's panoptic format"
    rgb = read_png(file_name, ("RGB",), expected, size, max_pixels)
    ids = rgb.astype(np.int64) @ [1, 256, 256**2]
    present, positions = np.unique(ids, return_inverse=True)
    classes = {0: ignore_value, **{s["id"]: s["category_id"] for s in segments}}
    unknown = [int(i) for i in present if i not in classes]
    if unknown:
        raise ValueError(
            f"Panoptic map '{file_name}' has the ids {unknown[:5]}, which are no segments of the "
            "image in its json."
        )
    lookup = np.array([classes[i] for i in present], np.uint8)
    return lookup[positions].reshape(ids.shape)


def from_instances(
    annotations: List[Dict], size: Tuple[int, int], num_things: int, ignore_value: int
) -> np.ndarray:
    """Draw the objects: each pixel gets the class of the smallest object that covers it.

    Of two equally small ones the later wins. Crowd regions are ignored where no object covers
    them, as nothing says which of their pixels belong to objects. All else is background.

    Args:
        annotations: Detectron2's, with "category_id" and "segmentation"; objects without a
            segmentation are not drawn.
        size: height and width of the image.
        num_things: the classes are 0 to num_things - 1, and num_things is the background.
    """
    target = np.full(size, num_things, np.uint8)
    drawn = [a for a in annotations if "segmentation" in a]
    rles = [to_rle(a["segmentation"], *size) for a in drawn]
    crowd = [bool(a.get("iscrowd", 0)) for a in drawn]
    areas = [area(rle) for rle in rles]
    for k in sorted(range(len(drawn)), key=lambda k: (not crowd[k], -areas[k], k)):
        value = ignore_value if crowd[k] else drawn[k]["category_id"]
        # Only within the box: objects are small beside the image.
        x, y, w, h = mask_util.toBbox(rles[k]).astype(int)
        mask = mask_util.decode(rles[k])[y : y + h, x : x + w]
        target[y : y + h, x : x + w][mask > 0] = value
    return target
