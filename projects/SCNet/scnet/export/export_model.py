"""A model becomes a file that was verified: it does what the model does."""

import os
from typing import Dict, Tuple

import torch
from torch.nn import functional as F

from ..modeling.meta_arch import SCNet
from .files import WRITERS
from .runtime import load_exported
from .verification import Deviation, compare


def export_model(
    model: SCNet, path: str, model_format: str, metadata: Dict, size: Tuple[int, int] = (480, 640)
) -> Deviation:
    """Write a model, and compare the file with it on an image.

    Args:
        model: on the CPU, in evaluation mode; a trace keeps the device that it was made on.
        path: of the file; its ending says how to run it.
        model_format: a key of ``WRITERS``.
        metadata: what goes with the model, as json.
        size: height and width of the image.

    Returns:
        how far the file is from the model.

    Raises:
        ValueError: it is too far. What was written is beside ``path``, and has ".unverified" in
            its name.
    """
    stem, ending = os.path.splitext(path)
    unverified = f"{stem}.unverified{ending}"
    WRITERS[model_format](model, unverified, metadata)
    deviation = verify(model, unverified, *size)
    if deviation.is_large():
        raise ValueError(
            f"What was written does not do what the model does: '{unverified}'. On an image of "
            f"{size[0]} x {size[1]} {deviation}."
        )
    os.replace(unverified, path)
    return deviation


def verify(model: SCNet, path: str, height: int, width: int) -> Deviation:
    """How far the file is from the model on a generated image of soft spots of colour."""
    spots = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0)) * 255
    image = F.interpolate(spots, (height, width), mode="bicubic")[0].clamp(0, 255).round()
    with torch.no_grad():
        (expected,) = model([{"image": image, "height": height, "width": width}])
    (found,) = load_exported(path)([image])
    return compare(expected["instances"], found)
