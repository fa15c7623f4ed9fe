"""Outlines of masks as polygons in COCO format."""

from typing import Dict, List, Optional

import cv2
import numpy as np
from pycocotools import mask as mask_util

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
    x, y, w, h = map(int, mask_util.toBbox(rle))
    mask = np.ascontiguousarray(mask_util.decode(rle)[y : y + h, x : x + w])
    twice = mask.repeat(2, 0).repeat(2, 1)  # OpenCV's outlines go through the middle of pixels
    outlines, parents = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if (parents[0, :, 3] >= 0).any():
        return None
    exact = mask_util.encode(np.asfortranarray(mask))
    while True:
        simple = [cv2.approxPolyDP(outline, 2 * tolerance, closed=True) for outline in outlines]
        polygons = [(p.reshape(-1, 2) + 0.5) / 2 for p in simple if len(p) >= 3]
        if not tolerance or (polygons and _iou(polygons, exact) >= MIN_IOU):
            return [(p + (x, y)).ravel().tolist() for p in polygons]
        tolerance = tolerance / 2 if tolerance > 0.25 else 0


def _iou(polygons: List[np.ndarray], exact: Dict) -> float:
    """The IoU of polygons, each (N, 2), and a mask."""
    rles = mask_util.frPyObjects([p.ravel().tolist() for p in polygons], *exact["size"])
    return float(mask_util.iou([mask_util.merge(rles)], [exact], [0])[0, 0])
