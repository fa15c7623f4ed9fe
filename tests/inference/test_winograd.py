"""Winograd's convolution, against PyTorch's in double precision."""

import pytest
import torch
from detectron2.layers import Conv2d, get_norm
from torch import nn
from torch.nn import functional as F

from scnet.inference import winograd
from scnet.inference.winograd import WinogradConv2d, is_winograd


@pytest.mark.parametrize("shape", [(3, 14, 14), (1, 7, 10), (2, 1, 5), (5, 2, 2), (0, 14, 14)])
@pytest.mark.parametrize("block", [1, 2000, 2**20])  # a row, some rows or images, all at a time
def test_same_as_the_definition(shape, block, monkeypatch):
    monkeypatch.setattr(winograd, "BLOCK", block)
    n, height, width = shape
    conv = Conv2d(4, 6, 3, padding=1, activation=F.relu)
    converted = WinogradConv2d(conv)
    x = torch.randn(n, 4, height, width)
    with torch.no_grad():
        for y in (x, x.contiguous(memory_format=torch.channels_last)):
            out = converted(y)
            assert out.shape == (n, 6, height, width)
            torch.testing.assert_close(out.double(), conv.double()(x.double()), atol=1e-5, rtol=0)


def test_without_bias_and_activation():
    conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    x = torch.randn(2, 4, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(WinogradConv2d(conv)(x), conv(x), atol=1e-5, rtol=0)


def test_which_convolutions_it_can_do():
    assert is_winograd(nn.Conv2d(256, 256, 3, padding=1))
    assert is_winograd(Conv2d(256, 512, 3, padding=1, activation=F.relu))
    others = [
        nn.Conv2d(256, 256, 1),
        nn.Conv2d(256, 256, 3),
        nn.Conv2d(256, 256, 3, padding=1, stride=2),
        nn.Conv2d(256, 256, 3, padding=2, dilation=2),
        nn.Conv2d(256, 256, 3, padding=1, groups=32),
        nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(256, 64, 3, padding=1),  # would be slower
        Conv2d(256, 256, 3, padding=1, norm=get_norm("GN", 256)),
        nn.ConvTranspose2d(256, 256, 3, padding=1),
    ]
    assert not any(map(is_winograd, others))
