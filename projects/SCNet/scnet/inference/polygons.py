"""Outlines of masks as polygons in COCO format."""

from typing import Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from pycocotools import mask as mask_util

from ..data.masks import decode_in_box

MIN_IOU = 0.98  # of a mask and its polygons


def to_polygons(rle: Dict, tolerance: float) -> Optional[List[List[float]]]:
    """Make polygons of a mask, one for each of its parts.

    An outline runs a quarter of a pixel inside the border of the mask. So pycocotools, which asks
    for the middle of each pixel, gives the mask back if the tolerance is 0.

    Args:
        rle: the mask, which has pixels.
        tolerance: how many pixels an outline may be away from the exact one. Where the polygons
            would have less than MIN_IOU with the mask, as those of small masks, it is less.

    Returns:
        [[x1, y1, x2, y2, ...], ...] in pixels of the image; None if the mask has a hole, which
        polygons in COCO format cannot have.
    """
    mask, (x, y) = decode_in_box(rle)
    outlines, parents = _trace(mask)
    if (parents >= 0).any():
        return None
    exact = mask_util.encode(np.asfortranarray(mask))
    while True:
        simple = [cv2.approxPolyDP(outline, 2 * tolerance, closed=True) for outline in outlines]
        polygons = [(p.reshape(-1, 2) + 0.5) / 2 for p in simple if len(p) >= 3]
        if not tolerance or (polygons and _iou(polygons, exact) >= MIN_IOU):
            return [(p + (x, y)).ravel().tolist() for p in polygons]
        tolerance = tolerance / 2 if tolerance > 0.25 else 0


def to_rings(rle: Dict) -> List[List[np.ndarray]]:
    """Get the outlines of a mask exactly, with its holes.

    They run a quarter of a pixel inside the border of the mask. Parts that touch at a corner are
    one.

    Returns:
        for each part of the mask its outline, and then those of its holes; each (N, 2), x and y in
        pixels of the image. nothing if the mask has no pixels.
    """
    mask, corner = decode_in_box(rle)
    outlines, parents = _trace(mask)
    parts: Dict[int, List[np.ndarray]] = {}
    for k, (outline, parent) in enumerate(zip(outlines, parents.tolist())):
        ring = (outline.reshape(-1, 2) + 0.5) / 2 + corner
        if parent < 0:
            parts.setdefault(k, []).insert(0, ring)
        else:
            parts.setdefault(parent, []).append(ring)
    return list(parts.values())


def _trace(mask: np.ndarray) -> Tuple[Sequence[np.ndarray], np.ndarray]:
    """Outlines in pixels of half the size, and for each that of a hole its parent; otherwise -1."""
    twice = mask.repeat(2, 0).repeat(2, 1)  # OpenCV's outlines go through the middle of pixels
    outlines, relations = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return outlines, relations[0, :, 3] if outlines else np.zeros(0, int)


def _iou(polygons: List[np.ndarray], exact: Dict) -> float:
    """The IoU of polygons, each (N, 2), and a mask."""
    rles = mask_util.frPyObjects([p.ravel().tolist() for p in polygons], *exact["size"])
    return float(mask_util.iou([mask_util.merge(rles)], [exact], [0])[0, 0])
