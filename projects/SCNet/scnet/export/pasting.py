"""Masks of boxes as masks of the image.

Shapes: R boxes, M the side of the masks of boxes, (H, W) the size of the image.
"""

from typing import Tuple

import torch
from torch import Tensor


def paste(masks: Tensor, boxes: Tensor, size: Tuple[int, int], threshold: float = 0.5) -> Tensor:
    """What Detectron2's ``paste_masks_in_image`` does, without a loop over the masks.

    It interpolates between the cells of a mask, linearly in both directions. That is a product
    of three matrices.

    Args:
        masks: (R, M, M), probabilities.
        boxes: (R, 4), not empty.
        size: of the image.
        threshold: pixels with at least this probability are part of the object.

    Returns:
        (R, H, W) bool
    """
    rows = interpolation(boxes[:, 1], boxes[:, 3], size[0], masks.shape[1])
    columns = interpolation(boxes[:, 0], boxes[:, 2], size[1], masks.shape[2])
    return rows @ masks @ columns.transpose(1, 2) >= threshold


def interpolation(start: Tensor, end: Tensor, pixels: int, cells: int) -> Tensor:
    """How much of each cell a pixel gets, in one direction.

    A cell has its value in its middle, and around the box is zero.

    Args:
        start, end: (R,), the box.
        pixels: of the image.
        cells: M.

    Returns:
        (R, pixels, M), from 0 to 1.
    """
    centers = torch.arange(pixels, device=start.device) + 0.5
    places = (centers - start[:, None]) / (end - start)[:, None] * cells - 0.5
    distances = (places[:, :, None] - torch.arange(cells, device=start.device)).abs()
    return (1 - distances).clamp(min=0)
