"""Weights that were trained on colours as a start for images with other channels.

The rule is that of timm's ``adapt_input_conv``. For one channel the kernels of the three colours
are summed, so that a gray image gives what it gave as three equal channels; this does not depend
on their order. For others they are repeated (red, green, blue, red, ...) and scaled by
3 / channels, so that in all they give as much as before. INPUT.FORMAT is RGB then, and weights of
another order are refused where it is known.
"""

from typing import Any, Dict, Mapping, Optional, Tuple

import torch
from torch import Tensor, nn

COLOURS = 3


def adapt_stem(weights: Mapping[str, Any], model: nn.Module) -> Tuple[Dict[str, Any], str]:
    """Adapt the kernels of the first convolution to the channels of a model.

    Args:
        weights: of a file.
        model: has ``pixel_mean``, a value per channel.

    Returns:
        the weights, with other kernels if those of the file are for three channels and the model
        has not three; and a sentence about it, "" if nothing was adapted.
    """
    stem = first_convolution(model)
    if stem is None or stem.in_channels == COLOURS:
        return dict(weights), ""
    shape = (stem.out_channels, COLOURS, *stem.kernel_size)
    names = [name for name, x in weights.items() if tuple(getattr(x, "shape", ())) == shape]
    if len(names) != 1:
        return dict(weights), ""
    kernels = torch.as_tensor(weights[names[0]])
    adapted = adapt_kernels(kernels, stem.in_channels).to(kernels.dtype)
    how = "summed" if stem.in_channels == 1 else f"repeated and scaled by 3/{stem.in_channels}"
    text = (
        f"The first layer has {COLOURS} channels in the weights and {stem.in_channels} in the "
        f"model. The kernels of the colours ('{names[0]}') were {how}."
    )
    return {**weights, names[0]: adapted}, text


def adapt_kernels(kernels: Tensor, channels: int) -> Tensor:
    """Make kernels (O, channels, h, w) of those for colours (O, 3, h, w)."""
    kernels = kernels.float()
    if channels == 1:
        return kernels.sum(dim=1, keepdim=True)
    repeated = kernels.repeat(1, -(-channels // COLOURS), 1, 1)[:, :channels]
    return repeated * (COLOURS / channels)


def first_convolution(model: nn.Module) -> Optional[nn.Conv2d]:
    """Find the convolution that sees the image; None if the model has none."""
    pixel_mean = getattr(model, "pixel_mean", None)
    if not isinstance(pixel_mean, Tensor):
        return None
    backbone = getattr(model, "backbone", model)
    bottom_up = getattr(backbone, "bottom_up", getattr(backbone, "net", backbone))
    first = next((m for m in bottom_up.modules() if isinstance(m, nn.Conv2d)), None)
    return first if first is not None and first.in_channels == len(pixel_mean) else None
