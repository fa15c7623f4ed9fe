"""How far two predictions for the same image are apart.

Shapes: R detections.
"""

from typing import NamedTuple

import torch
from detectron2.structures import Instances

MAX_DISTANCE = 2.0  # pixels between the sides of boxes that can be the same detection


class Deviation(NamedTuple):
    """How far two predictions are apart.

    Attributes:
        detections: how many there are, in the prediction that has more.
        unmatched: how many of them have no counterpart of the same class and about the same box.
        box: the largest deviation of a side of a box, in pixels, among those that have one.
        score: the largest deviation of a score.
        mask: pixels that differ, as a share of those in the masks.
    """

    detections: int
    unmatched: int
    box: float = 0.0
    score: float = 0.0
    mask: float = 0.0

    def is_large(self) -> bool:
        """Whether it is more than rounding can explain.

        Where two scores or overlaps are equal but for rounding, non-maximum suppression may
        decide differently, so a few detections may differ.
        """
        return (
            self.unmatched > max(1, 0.05 * self.detections)
            or 0 < self.detections == self.unmatched
            or self.box > 0.1
            or self.score > 0.01
            or self.mask > 0.01
        )

    def __str__(self) -> str:
        return (
            f"{self.unmatched} of {self.detections} detections differ; in the others boxes "
            f"deviate by up to {self.box:.2g} pixels, scores by {self.score:.2g}, and "
            f"{self.mask:.2%} of the pixels of the masks differ"
        )


def compare(expected: Instances, found: Instances) -> Deviation:
    """Match the detections of two predictions one to one, the best first, and compare them."""
    a, b = expected, found
    distance = (a.pred_boxes.tensor[:, None] - b.pred_boxes.tensor).abs().amax(dim=2)
    distance[a.pred_classes[:, None] != b.pred_classes] = torch.inf
    rows, columns = [], []
    for row in range(len(a) if len(b) else 0):
        nearest = distance[row].argmin()
        if distance[row, nearest] <= MAX_DISTANCE:
            rows.append(row)
            columns.append(int(nearest))
            distance[:, nearest] = torch.inf
    count = max(len(a), len(b))
    if not rows:
        return Deviation(count, count)
    a, b = a[rows], b[columns]
    mask = 0.0
    if a.has("pred_masks"):
        differing = (a.pred_masks != b.pred_masks).sum()
        mask = float(differing / a.pred_masks.sum().clamp(min=1))
    return Deviation(
        count,
        count - len(rows),
        float((a.pred_boxes.tensor - b.pred_boxes.tensor).abs().max()),
        float((a.scores - b.scores).abs().max()),
        mask,
    )
