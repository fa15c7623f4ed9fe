"""Finding the annotations that have to be looked at one by one: in a good file these are few."""

from itertools import chain
from typing import Iterable, List

import numpy as np

from ..canonical_form import PlainAnnotation
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
    ids = [number for x in run.annotations if is_id(number := x.get("id"))]
    fresh = set(ids)
    if len(fresh) < len(ids) or not fresh.isdisjoint(check.ids):
        return suspect.tolist()  # one by one, it is seen which of them has the id of another
    places, annotations, images = [], [], []
    for k, x in enumerate(run.annotations):
        if isinstance(x, PlainAnnotation) and x.category_id in check.classes:
            image = check.images.get(x.image_id)
            if image is not None:
                places.append(k)
                annotations.append(x)
                images.append(image)
    boxes = _rows((x.bbox for x in annotations), 4)
    try:
        sizes = _rows(((x["width"], x["height"]) for x in images), 2)
    except OverflowError:  # a whole number that no float can hold
        return suspect.tolist()
    fine = _are_inside(boxes, sizes) & _have_near_masks(annotations, sizes)
    suspect[places] = ~fine
    check.ids.update(x.id for x, is_fine in zip(annotations, fine.tolist()) if is_fine)
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


def _have_near_masks(annotations: List[PlainAnnotation], sizes: np.ndarray) -> np.ndarray:
    """Whether no polygon goes far outside its image; see :func:`scnet.data.masks.find_mistake`."""
    masks = [x.segmentation or [] for x in annotations]
    polygons = list(chain.from_iterable(masks))
    owners = np.repeat(np.arange(len(masks)), list(map(len, masks)))
    lengths = np.array(list(map(len, polygons)), int)
    fine = np.ones(len(masks), bool)
    if not polygons:
        return fine
    if (lengths % 2).any():  # one by one, it is seen which of them cannot be paired
        return ~fine
    points = _rows(polygons, 2)
    counts = lengths // 2
    starts = np.cumsum(counts) - counts
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    most = np.minimum(2 * sizes, 1e15)[owners]
    near = ((low >= -sizes[owners]) & (low > -1e15) & (high <= most) & (high < 1e15)).all(1)
    fine[owners[~near]] = False
    return fine


def _rows(values: Iterable[Iterable[float]], length: int) -> np.ndarray:
    """The numbers of all lists in rows (N, length) of an array."""
    return np.fromiter(chain.from_iterable(values), float).reshape(-1, length)
