import torch
from torch.nn import functional as F

from scnet.modeling.layers import ResidualBlock, residual_blocks


def test_residual_block_is_two_convolutions_plus_identity():
    block, x = ResidualBlock(4, 4), torch.randn(2, 4, 5, 6)
    hidden = F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).clamp(min=0)
    expected = F.conv2d(hidden, block.conv2.weight, block.conv2.bias, padding=1) + x
    torch.testing.assert_close(block(x), expected)


def test_another_number_of_channels_passes_a_convolution_beside_the_block():
    block, x = ResidualBlock(3, 4), torch.randn(2, 3, 5, 6)
    shortcut = F.conv2d(x, block.shortcut.weight, block.shortcut.bias)
    hidden = F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).clamp(min=0)
    expected = shortcut + F.conv2d(hidden, block.conv2.weight, block.conv2.bias, padding=1)
    torch.testing.assert_close(block(x), expected)
    assert ResidualBlock(4, 4).shortcut is None


def test_a_norm_comes_before_the_activation_and_takes_the_bias():
    block, x = ResidualBlock(32, 32, "GN"), torch.randn(2, 32, 5, 6)
    hidden = F.group_norm(F.conv2d(x, block.conv1.weight, padding=1), 32).clamp(min=0)
    expected = x + F.group_norm(F.conv2d(hidden, block.conv2.weight, padding=1), 32)
    torch.testing.assert_close(block(x), expected)


def test_residual_block_has_no_activation_after_the_sum():
    block = ResidualBlock(2, 2)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.constant_(block.conv2.bias, -3.0)
    assert (block(torch.zeros(1, 2, 3, 3)) == -3).all()


def test_residual_blocks_are_applied_in_order():
    blocks, x = residual_blocks(3, 3, 4), torch.randn(1, 3, 4, 4)
    expected = x
    for block in blocks:
        expected = block(expected)
    assert len(blocks) == 4
    torch.testing.assert_close(blocks(x), expected)
