"""The stacks of convolutions that the mask head, the semantic head and the global context use."""

import fvcore.nn.weight_init as weight_init
from detectron2.layers import Conv2d
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection: x + conv(relu(conv(x))).

    The paper asks for "a skip connect after every two convolution layers" (Sec. 4.1). As in the
    authors' code there is no normalisation and no activation after the sum.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.conv2(F.relu(self.conv1(x)))


def residual_blocks(channels: int, num_blocks: int) -> nn.Sequential:
    """A sequence of ``num_blocks`` residual blocks."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(num_blocks)))


def plain_convs(channels: int, num_conv: int) -> nn.Sequential:
    """A sequence of ``num_conv`` 3x3 convolutions, each followed by a ReLU."""
    layers = [
        Conv2d(channels, channels, kernel_size=3, padding=1, activation=F.relu)
        for _ in range(num_conv)
    ]
    for layer in layers:
        weight_init.c2_msra_fill(layer)
    return nn.Sequential(*layers)
