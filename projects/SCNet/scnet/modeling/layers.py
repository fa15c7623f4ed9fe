"""The stacks of convolutions that the mask head, the semantic head and the global context use."""

from typing import Callable, Optional

import fvcore.nn.weight_init as weight_init
from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn
from torch.nn import functional as F


def conv(
    in_channels: int,
    channels: int,
    kernel_size: int,
    norm: str = "",
    activation: Optional[Callable[[Tensor], Tensor]] = None,
) -> Conv2d:
    """A convolution that keeps height and width, then a normalisation, then an activation.

    Args:
        norm: a name that :func:`detectron2.layers.get_norm` knows; "" for none, and then the
            convolution has a bias.
    """
    return Conv2d(
        in_channels,
        channels,
        kernel_size,
        padding=kernel_size // 2,
        bias=not norm,
        norm=get_norm(norm, channels),
        activation=activation,
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection: x + conv(relu(conv(x))).

    The paper asks for "a skip connect after every two convolution layers" (Sec. 4.1). As in the
    authors' code there is no activation after the sum, no normalisation unless it is asked for,
    and a 1x1 convolution in the skip connection only where the number of channels changes.
    """

    def __init__(self, in_channels: int, channels: int, norm: str = ""):
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, norm, F.relu)
        self.conv2 = conv(channels, channels, 3, norm)
        self.shortcut = None
        if in_channels != channels:
            self.shortcut = conv(in_channels, channels, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H, W), for C channels in and D channels out."""
        skip = x if self.shortcut is None else self.shortcut(x)
        return skip + self.conv2(self.conv1(x))


def residual_blocks(
    in_channels: int, channels: int, num_blocks: int, norm: str = ""
) -> nn.Sequential:
    """A sequence of ``num_blocks`` residual blocks."""
    widths = [in_channels] + [channels] * num_blocks
    return nn.Sequential(*(ResidualBlock(c, d, norm) for c, d in zip(widths, widths[1:])))


def plain_convs(channels: int, num_conv: int, norm: str = "") -> nn.Sequential:
    """A sequence of ``num_conv`` 3x3 convolutions, each followed by a ReLU."""
    layers = [conv(channels, channels, 3, norm, F.relu) for _ in range(num_conv)]
    for layer in layers:
        weight_init.c2_msra_fill(layer)
    return nn.Sequential(*layers)
