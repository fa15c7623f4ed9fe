"""Boxes as tensors: what Detectron2's ``Boxes`` and anchor generator do.

Shapes: R boxes, A anchors per cell, (H, W) a size in pixels or cells.
"""

from typing import Tuple

import torch
from torch import Tensor
from torch.nn import functional as F


def clip(boxes: Tensor, size: Tuple[int, int]) -> Tensor:
    """Boxes (R, 4) limited to an image of height and width ``size``."""
    height, width = size
    x, y = boxes[:, 0::2].clamp(min=0, max=width), boxes[:, 1::2].clamp(min=0, max=height)
    return torch.stack([x, y], dim=2).flatten(1)


def nonempty(boxes: Tensor, min_side: float = 0) -> Tensor:
    """(R,) bool: both sides are longer than ``min_side``."""
    return (boxes[:, 2:] - boxes[:, :2] > min_side).all(dim=1)


def best(scores: Tensor, count: int) -> Tuple[Tensor, Tensor]:
    """The highest scores and their indices, ``count`` of them even if there are not so many.

    A number that depends on the input has no place in a graph. What is missing has the score
    -inf and an index that must not be used as it is.
    """
    return F.pad(scores, (0, count), value=-torch.inf).topk(count)


def best_indices(scores: Tensor, count: int) -> Tensor:
    """The indices of the highest scores, ``count`` or as many as there are."""
    top, index = best(scores, count)
    return index[(top > -torch.inf).nonzero()[:, 0]]


def anchors_of_level(size: Tuple[int, int], stride: int, offset: float, cell: Tensor) -> Tensor:
    """The anchors of one level, in the order of Detectron2's generator.

    Args:
        size: (H, W) of the feature map.
        offset: of the anchors within a cell, in strides.
        cell: (A, 4), the anchors around (0, 0).

    Returns:
        (H * W * A, 4)
    """
    y, x = ((torch.arange(side, device=cell.device) + offset) * stride for side in size)
    y, x = y[:, None].expand(*size), x.expand(*size)
    return (torch.stack([x, y, x, y], dim=2)[:, :, None] + cell).reshape(-1, 4)
