"""3x3 convolutions with fewer multiplications, for inference on a CPU.

Winograd's F(2x2, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
CVPR 2016) makes a tile of 2 x 2 outputs from 4 x 4 inputs: both and the kernel are transformed
by sums and differences, and in between a product per pair of channels replaces a convolution. It
takes 16 multiplications where 36 are in the definition.

Shapes: N images or regions, C channels in, D channels out, (H, W) the size of a map, (Y, X) the
rows and columns of tiles.
"""

from math import prod
from typing import List, Optional

import torch
from detectron2.layers import Conv2d
from torch import Tensor, nn
from torch.nn import functional as F

KERNEL_TRANSFORM = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
BLOCK = 2**20  # numbers that are transformed at a time: a block should fit into the cache
MIN_CHANNELS = 256  # with fewer the transforms take longer than the products save


class WinogradConv2d(nn.Module):
    """Computes what a 3x3 convolution computes; cannot train.

    Attributes:
        weight: (16, C, D), the transformed kernels.
        bias: (D,), or None.
        activation: what is applied to the output, or None.
    """

    bias: Optional[Tensor]

    def __init__(self, conv: nn.Conv2d):
        """Take the weights of a convolution for which :func:`is_winograd` holds."""
        super().__init__()
        g = KERNEL_TRANSFORM.to(conv.weight)
        # The input's transforms below put columns before rows.
        weight = torch.einsum("xj,yi,dcij->xycd", g, g, conv.weight.detach()).flatten(0, 1)
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.bias = conv.bias
        self.activation = getattr(conv, "activation", None)  # Detectron2's convolutions have one

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D, H, W), ``channels_last``."""
        (n, _, height, width), (_, c, d) = x.shape, self.weight.shape
        rows, columns = (height + 1) // 2, (width + 1) // 2
        x = x.permute(0, 2, 3, 1)
        out = x.new_empty(n, rows, 2, columns, 2, d)
        images = min(n, max(1, BLOCK // (16 * rows * columns * c)))
        step = rows if images > 1 else min(rows, max(1, BLOCK // (16 * columns * c)))
        # One memory for all blocks: new memory costs more than the sums.
        tiles = images * step * columns
        memory = [x.new_empty(k * tiles) for k in (16 * c, 16 * c, 16 * d, 8 * d)]
        for i in range(0, n, max(1, images)):
            for y in range(0, rows, step):
                top, bottom = 2 * y - 1, 2 * min(y + step, rows) + 1
                block = x[i : i + images, max(top, 0) : bottom]
                padding = (0, 0, 1, 1 + width % 2, max(-top, 0), max(bottom - height, 0))
                block_out = out[i : i + images, y : y + step]
                self._convolve(F.pad(block, padding), block_out, memory)
        out = out.view(n, 2 * rows, 2 * columns, d)[:, :height, :width].permute(0, 3, 1, 2)
        return out if self.activation is None else self.activation(out)

    def _convolve(self, x: Tensor, out: Tensor, memory: List[Tensor]) -> None:
        """Write the output (N, Y, 2, X, 2, D) for the padded input (N, 2 Y + 2, 2 X + 2, C).

        ``memory`` is for what comes in between.
        """
        n, rows, _, columns, _, d = out.shape
        by_row, tiles, products, by_column = (
            m[: prod(shape)].view(shape)
            for m, shape in zip(
                memory,
                [
                    (4, n, rows, *x.shape[2:]),
                    (4, 4, n, rows, columns, x.shape[3]),
                    (4, 4, n, rows, columns, d),
                    (2, 4, n, rows, columns, d),
                ],
            )
        )
        _transform_input(x, 1, by_row)
        _transform_input(by_row, 3, tiles)
        torch.bmm(tiles.view(16, -1, x.shape[3]), self.weight, out=products.view(16, -1, d))
        if self.bias is not None:
            products[1, 1] += self.bias  # all four outputs take it in once
        _transform_output(products, by_column)
        _transform_output(by_column.transpose(0, 1), out.permute(2, 4, 0, 1, 3, 5))


def is_winograd(module: nn.Module) -> bool:
    """Whether a module is a convolution that Winograd's algorithm can do, and does faster."""
    # A subclass may do more with its weights, as timm's standardised convolutions do.
    return (
        isinstance(module, nn.Conv2d)
        and type(module) in (nn.Conv2d, Conv2d)
        and getattr(module, "norm", None) is None
        and module.kernel_size == (3, 3)
        and module.stride == module.dilation == (1, 1)
        and module.padding in (1, (1, 1))
        and module.padding_mode == "zeros"
        and module.groups == 1
        and min(module.in_channels, module.out_channels) >= MIN_CHANNELS
    )


def _transform_input(x: Tensor, dim: int, out: Tensor) -> None:
    """Write what the k-th product takes, from places 0 to 3 of every tile along ``dim``: out[k]."""
    a, b, c, d = (
        x.narrow(dim, k, x.shape[dim] - 3).unfold(dim, 1, 2).squeeze(-1) for k in range(4)
    )
    torch.sub(a, c, out=out[0])
    torch.add(b, c, out=out[1])
    torch.sub(c, b, out=out[2])
    torch.sub(b, d, out=out[3])


def _transform_output(x: Tensor, out: Tensor) -> None:
    """Write the k-th output of every tile, from the products x[0] to x[3]: out[k]."""
    torch.add(x[0], x[1], out=out[0]).add_(x[2])
    torch.sub(x[1], x[2], out=out[1]).sub_(x[3])
