"""Pictures of what models find and of what data sets say.

A picture takes the memory of the picture: masks are drawn into it one after the other. Lines and
labels have a size that follows from that of the picture.
"""

from math import ceil, sqrt
from typing import Dict, List, Optional, Sequence, Union

import cv2
import numpy as np
from detectron2.data.detection_utils import check_image_size
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.colormap import colormap
from pycocotools import mask as mask_util

from .image_kind import to_bgr
from .lettering import draw_text, drawable_names
from .whole_files import write_png

MIN_PICTURE_SIDE = 512  # pixels; pictures of smaller images are enlarged
COLORS = colormap(rgb=True, maximum=1)  # of the classes, by their index; after the last the first
CAPTION_HEIGHT = 32  # pixels
MASK_ALPHA = 0.5  # how much of its colour a mask has
LABEL_ALPHA = 0.8  # how black the ground of a label is
MARGIN = 4  # pixels, left and right of each panel


def add_caption(caption: str, picture: np.ndarray) -> np.ndarray:
    """A panel: a picture (H, W, 3) with its caption above and a margin at its sides."""
    panel = cv2.copyMakeBorder(
        picture, 0, 0, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    width = panel.shape[1]
    text, room = draw_text(caption, CAPTION_HEIGHT * 3 // 4), width - 2 * MARGIN
    if text.shape[1] > room:
        height = max(1, round(text.shape[0] * room / text.shape[1]))
        text = cv2.resize(text, (room, height), interpolation=cv2.INTER_AREA)
    line = np.full((CAPTION_HEIGHT, width, 3), 255, np.uint8)
    top, left = (CAPTION_HEIGHT - text.shape[0]) // 2, (width - text.shape[1]) // 2
    line[top : top + text.shape[0], left : left + text.shape[1]] -= text[:, :, None]
    return np.concatenate([line, panel])


def draw_detections(pixels: np.ndarray, instances: Instances, names: List[str]) -> np.ndarray:
    """Draw what a model has found; see :func:`draw_objects`.

    Args:
        instances: on the CPU, with ``pred_boxes``, ``pred_classes``, ``scores`` and perhaps
            ``pred_masks``, (R, H, W) bool or RLE, and ``track_ids``, which are in the labels.
        names: of the classes.
    """
    masks = None
    if instances.has("pred_masks"):
        masks = [m if isinstance(m, dict) else m.numpy() for m in instances.pred_masks]
    classes, scores, shown = (
        instances.pred_classes.tolist(),
        instances.scores,
        drawable_names(names),
    )
    ids = instances.track_ids.tolist() if instances.has("track_ids") else [0] * len(classes)
    labels = [
        f"{shown[c]}{f' #{k}' if k else ''} {score:.0%}"
        for c, k, score in zip(classes, ids, scores.tolist())
    ]
    return draw_objects(pixels, instances.pred_boxes, masks, classes, labels)


def draw_ground_truth(pixels: np.ndarray, record: Dict, names: List[str]) -> np.ndarray:
    """Draw the annotations of an image; see :func:`draw_objects`.

    Args:
        record: Detectron2's dict of the image.
        names: of the classes.

    Raises:
        SizeMismatchError: the image has another size than the record says.
    """
    check_image_size(record, pixels)
    objects = record["annotations"]
    boxes = [BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYXY_ABS) for x in objects]
    # There is a mask for each box or none at all: one object without makes all be boxes.
    masked = all("segmentation" in x for x in objects)
    masks = [x["segmentation"] for x in objects] if masked else None
    classes, shown = [x["category_id"] for x in objects], drawable_names(names)
    labels = [shown[x["category_id"]] + " (crowd)" * x.get("iscrowd", 0) for x in objects]
    return draw_objects(pixels, boxes, masks, classes, labels)


def draw_objects(
    pixels: np.ndarray,
    boxes: Union[Boxes, List[List[float]]],
    masks: Optional[Sequence],
    classes: Sequence[int],
    labels: Sequence[str],
) -> np.ndarray:
    """Draw objects in an image, small ones over large ones, and all labels over them.

    Args:
        pixels: (H, W, C) of any kind, shown as :func:`scnet.image_kind.to_bgr` says.
        boxes: x1, y1, x2, y2 in pixels per object.
        masks: per object a mask (H, W), an RLE or polygons; None draws boxes only.
        classes: the index of each object's class, which tells its colour: COLORS has it at this
            place, in all images.
        labels: per object. Where there is room, none covers one that comes before it.

    Returns:
        (h, w, 3) uint8, RGB: of the image's size or, as labels need room, a multiple of it whose
        longer side has at least MIN_PICTURE_SIDE pixels.
    """
    pixels = to_bgr(pixels)
    height, width = pixels.shape[:2]
    scale = ceil(MIN_PICTURE_SIDE / max(height, width))
    picture = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2RGB)
    if scale > 1:
        picture = picture.repeat(scale, 0).repeat(scale, 1)
    text_height = label_height(*picture.shape[:2])
    thickness = text_height // 8
    shades = [tuple(int(x) for x in COLORS[c % len(COLORS)] * 255) for c in classes]
    corners = np.array([list(map(float, box)) for box in boxes]).reshape(-1, 4) * scale
    rles = None if masks is None else [to_rle(mask, height, width) for mask in masks]
    if rles is None:
        areas = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    else:
        areas = np.array([mask_util.area(rle) for rle in rles])
    for k in np.argsort(-areas, kind="stable"):
        if rles is not None:
            draw_mask(picture, rles[k], scale, shades[k], max(1, thickness // 2))
        x1, y1, x2, y2 = np.rint(corners[k]).astype(int).tolist()
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), shades[k], thickness)
    draw_labels(picture, corners, shades, labels, text_height)
    return picture


def label_height(height: int, width: int) -> int:
    """The height of a label in pixels: 16, or more in large pictures, which are seen from afar."""
    return max(16, round(sqrt(height * width) / 50))


def to_rle(mask: Union[np.ndarray, Dict, List], height: int, width: int) -> Dict:
    """Make an RLE of a mask: a bitmap (height, width), polygons, or an RLE of either kind."""
    if isinstance(mask, list):
        return mask_util.merge(mask_util.frPyObjects(mask, height, width))
    if not isinstance(mask, dict):
        return mask_util.encode(np.asarray(mask, np.uint8, order="F"))
    return mask_util.frPyObjects(mask, height, width) if isinstance(mask["counts"], list) else mask


def draw_mask(
    picture: np.ndarray, rle: Dict, scale: int, color: Sequence[int], thickness: int
) -> None:
    """Draw a mask and the outlines of its parts and holes; holes stay as they are.

    Args:
        picture: (H, W, 3) uint8, which is changed.
        rle: the mask, of (H / scale, W / scale) pixels.
        scale: how many times the picture is larger than the mask.
        color: red, green and blue from 0 to 255.
        thickness: of the outlines in pixels.
    """
    x, y, w, h = map(int, mask_util.toBbox(rle))
    if not w or not h:
        return
    mask = np.ascontiguousarray(mask_util.decode(rle)[y : y + h, x : x + w])
    mask = mask.repeat(scale, 0).repeat(scale, 1) if scale > 1 else mask
    x, y = x * scale, y * scale
    part = picture[y : y + mask.shape[0], x : x + mask.shape[1]]
    levels = np.arange(256)[:, None] * (1 - MASK_ALPHA) + np.multiply(color, MASK_ALPHA)
    shaded = cv2.LUT(part, np.rint(levels).astype(np.uint8)[None])
    cv2.copyTo(shaded, mask, part)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, outlines, -1, color, thickness, cv2.LINE_AA, offset=(x, y))


def draw_labels(
    picture: np.ndarray,
    corners: np.ndarray,
    colors: Sequence[Sequence[int]],
    labels: Sequence[str],
    height: int,
) -> None:
    """Draw labels at the boxes, each where it covers no other if there is such a place.

    Args:
        picture: (H, W, 3) uint8, which is changed.
        corners: (R, 4), the boxes.
        colors: of the objects.
        labels: of the objects.
        height: of a label in pixels.
    """
    taken = np.zeros((0, 4))
    for box, color, label in zip(corners, colors, labels):
        text = draw_text(label, height)[:, : picture.shape[1]]
        place = label_place(box, text.shape, picture.shape, taken)
        taken = np.vstack([taken, place])
        left, top, right, bottom = place
        part = picture[top:bottom, left:right]
        lighter = 255 - (255 - np.array(color)) * 0.5  # to be read on black
        alpha = text[: len(part), :, None] / np.float32(255)
        part[:] = np.rint(part * (1 - LABEL_ALPHA) * (1 - alpha) + lighter * alpha)


def label_place(
    box: np.ndarray, size: Sequence[int], picture: Sequence[int], taken: np.ndarray
) -> List[int]:
    """Find a place for a label: above its box, in it, below it, or at its other side.

    Args:
        box: (4,), the box of the object.
        size: height and width of the label.
        picture: height and width of the picture, and perhaps more.
        taken: (N, 4), the places of other labels.

    Returns:
        left, top, right and bottom. If all places are taken, it is the first.
    """
    (height, width), (x1, y1, x2, y2) = size, box
    places = []
    for left in (x1, x2 - width):
        for top in (y1 - height, y1, y2, y2 - height):
            inside = [max(0, min(left, picture[1] - width)), max(0, min(top, picture[0] - height))]
            x, y = (int(v) for v in inside)
            place = [x, y, x + width, min(y + height, picture[0])]
            overlaps = (taken[:, :2] < place[2:]) & (taken[:, 2:] > place[:2])
            if not overlaps.all(axis=1).any():
                return place
            places.append(place)
    return places[0]


def write_rgb(file_name: str, picture: np.ndarray) -> None:
    """Write a picture, (H, W, 3) uint8, as a PNG; see :func:`scnet.whole_files.write_png`."""
    write_png(file_name, picture[:, :, ::-1])
