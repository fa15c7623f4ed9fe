"""Detectron2's transforms for images that Pillow has no mode for."""

from typing import Sequence

import numpy as np
import torch
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform
from torch.nn import functional as F


def transform_image(transforms: Sequence[Transform], image: np.ndarray) -> np.ndarray:
    """Apply transforms to an image of any kind.

    Detectron2 resizes with Pillow where the values have 8 bits, and otherwise without a filter
    against aliasing. Pillow would take a fourth channel for transparency, and has no fifth. Here
    all images of other kinds are resized by PyTorch, with the filter that Pillow uses.

    Args:
        transforms: one after the other.
        image: (H, W, C) uint8 or float32.

    Returns:
        (h, w, C) of the same type.
    """
    for transform in transforms:
        if isinstance(transform, T.ResizeTransform) and not is_pillows(image):
            image = _resize(image, transform.new_h, transform.new_w)
        else:
            # Some give float64 for float32.
            image = transform.apply_image(image).astype(image.dtype, copy=False)
    return image


def is_pillows(image: np.ndarray) -> bool:
    """Whether Pillow resizes an image (H, W, C) as it should be."""
    return image.dtype == np.uint8 and image.shape[2] in (1, 3)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    values = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    values = F.interpolate(values, (height, width), mode="bilinear", antialias=True)
    resized = values[0].permute(1, 2, 0).numpy()
    return resized.round().astype(np.uint8) if image.dtype == np.uint8 else resized
