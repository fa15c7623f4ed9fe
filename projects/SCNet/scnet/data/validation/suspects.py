"""Finding the annotations that have to be looked at one by one: in a good file these are few."""

from itertools import chain
from typing import Dict, Iterable, List

import numpy as np

from ..coco_file import is_id
from ..content import Run
from .check_annotation import FAR, AnnotationCheck


def find_suspects(run: Run, check: AnnotationCheck) -> List[bool]:
    """Find the annotations of a run that may be worth a message.

    All others have no mistake that the check knows; it takes note of them here.

    Args:
        check: has looked at the runs before.

    Returns:
        whether each annotation has to be looked at.
    """
    suspect = np.ones(len(run.annotations), bool)
    ids = [x["id"] for x in run.annotations if is_id(x.get("id"))]
    fresh = set(ids)
    if len(fresh) < len(ids) or not fresh.isdisjoint(check.ids):
        return suspect.tolist()  # one by one, it is seen which of them has the id of another
    places = [
        k
        for k, (x, plain) in enumerate(zip(run.annotations, run.plain))
        if plain and x["image_id"] in check.images and x["category_id"] in check.classes
    ]
    annotations = [run.annotations[k] for k in places]
    images = [check.images[x["image_id"]] for x in annotations]
    try:
        boxes = _rows((x["bbox"] for x in annotations), 4)
        sizes = _rows(((x["width"], x["height"]) for x in images), 2)
        fine = _are_inside(boxes, sizes) & _have_near_masks(annotations, sizes)
    except OverflowError:  # a whole number that no float can hold
        return suspect.tolist()
    suspect[places] = ~fine
    check.ids.update(x["id"] for x, odd in zip(run.annotations, suspect.tolist()) if not odd)
    check.reach = max(check.reach, float((boxes[fine, :2] + boxes[fine, 2:]).max(initial=0)))
    return suspect.tolist()


def _are_inside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether boxes (N, 4) have an area, and lie within their images with (width, height) (N, 2).

    A comparison with NaN is False.
    """
    start, extent = boxes[:, :2], boxes[:, 2:]
    end = start + extent
    inside = (start >= -1) & (start < sizes) & (end > 0) & (end <= sizes + 1)
    near = (np.abs(start) <= FAR) & (extent > 0) & (extent <= FAR)
    return (inside & near).all(1)


def _have_near_masks(annotations: List[Dict], sizes: np.ndarray) -> np.ndarray:
    """Whether no polygon goes far outside its image; see :func:`scnet.data.masks.find_mistake`."""
    masks = [x.get("segmentation") or [] for x in annotations]
    polygons = list(chain.from_iterable(masks))
    owners = np.repeat(np.arange(len(masks)), list(map(len, masks)))
    fine = np.ones(len(masks), bool)
    if not polygons:
        return fine
    points = _rows(polygons, 2)
    counts = np.array(list(map(len, polygons))) // 2
    starts = np.cumsum(counts) - counts
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    most = np.minimum(2 * sizes, 1e15)[owners]
    near = ((low >= -sizes[owners]) & (low > -1e15) & (high <= most) & (high < 1e15)).all(1)
    fine[owners[~near]] = False
    return fine


def _rows(values: Iterable[Iterable[float]], length: int) -> np.ndarray:
    """The numbers of all lists in rows (N, length) of an array."""
    return np.fromiter(chain.from_iterable(values), float).reshape(-1, length)
