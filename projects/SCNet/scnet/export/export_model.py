"""A model becomes a file that was verified: it does what the model does."""

import os
from typing import Dict, Iterator, Optional, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..modeling.meta_arch import SCNet
from .files import WRITERS
from .runtime import load_exported
from .verification import Deviation, compare

GENERATED_IMAGES = 5


def export_model(
    model: SCNet,
    path: str,
    model_format: str,
    metadata: Dict,
    size: Tuple[int, int] = (480, 640),
    image: Optional[Tensor] = None,
) -> Deviation:
    """Write a model, and compare the file with it on an image in which the model finds something.

    Args:
        model: on the CPU, in evaluation mode; a trace keeps the device that it was made on.
        path: of the file; its ending says how to run it.
        model_format: a key of ``WRITERS``.
        metadata: what goes with the model, as json.
        size: height and width of the image.
        image: (C, H, W), with the values that files have, channels in the order of INPUT.FORMAT; it
            is resized to ``size``. Without one, images of soft spots of colour are generated.

    Returns:
        how far the file is from the model.

    Raises:
        ValueError: it is too far, or the model finds nothing, so that there is nothing to compare.
            What was written is beside ``path``, and has ".unverified" in its name.
    """
    stem, ending = os.path.splitext(path)
    unverified = f"{stem}.unverified{ending}"
    WRITERS[model_format](model, unverified, metadata)
    in_bytes = metadata.get("dtype", "uint8") == "uint8"
    given = None if image is None else [F.interpolate(image[None], size)[0]]
    images = given or generate_images(model, size, in_bytes)
    exported, deviation = load_exported(unverified), Deviation(0, 0)
    for each in images:
        with torch.no_grad():
            (expected,) = model([{"image": each, "height": size[0], "width": size[1]}])
        (found,) = exported([each])
        deviation = compare(expected["instances"], found)
        if deviation.detections:
            break
    if not deviation.detections:
        raise ValueError(
            f"What was written could not be verified: the model finds nothing in the "
            f"{'generated images' if image is None else 'image'} of {size[0]} x {size[1]}. Give an "
            "image in which it finds something (--image). The file that was not verified is "
            f"'{unverified}'."
        )
    if deviation.is_large():
        raise ValueError(
            f"What was written does not do what the model does: '{unverified}'. On an image of "
            f"{size[0]} x {size[1]} {deviation}."
        )
    os.replace(unverified, path)
    return deviation


def generate_images(model: SCNet, size: Tuple[int, int], in_bytes: bool = True) -> Iterator[Tensor]:
    """Generate images (C, H, W) of soft spots of colour.

    Args:
        model: that they are for.
        size: height and width.
        in_bytes: values are from 0 to 255; else up to two deviations off the mean of the model's.
    """
    mean, std = model.pixel_mean, model.pixel_std
    generator = torch.Generator().manual_seed(0)
    for _ in range(GENERATED_IMAGES):
        spots = torch.rand(1, len(mean), 9, 12, generator=generator) * 255
        image = F.interpolate(spots, size, mode="bicubic")[0].clamp(0, 255).round()
        yield image if in_bytes else mean + (image / 127.5 - 1) * 2 * std
