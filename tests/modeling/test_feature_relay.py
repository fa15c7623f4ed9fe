import torch

from scnet.modeling.feature_relay import FeatureRelay


def bilinear_with_corners(x, size):
    """A slow reference: the corners of input and output coincide."""
    height = x.shape[0]
    out = torch.zeros(size, size)
    for i in range(size):
        for j in range(size):
            y, z = (k * (height - 1) / (size - 1) for k in (i, j))
            y0, z0 = min(int(y), height - 2), min(int(z), height - 2)
            dy, dz = y - y0, z - z0
            out[i, j] = (
                x[y0, z0] * (1 - dy) * (1 - dz)
                + x[y0, z0 + 1] * (1 - dy) * dz
                + x[y0 + 1, z0] * dy * (1 - dz)
                + x[y0 + 1, z0 + 1] * dy * dz
            )
    return out


def test_relay_is_a_linear_layer_reshaped_and_enlarged():
    relay, x = FeatureRelay(in_channels=6, out_channels=2, out_size=8), torch.randn(3, 6)
    small = (x @ relay.fc.weight.T + relay.fc.bias).reshape(3, 2, 4, 4)
    out = relay(x)
    assert out.shape == (3, 2, 8, 8)
    for r in range(3):
        for c in range(2):
            torch.testing.assert_close(out[r, c], bilinear_with_corners(small[r, c], 8))


def test_no_regions():
    relay = FeatureRelay(in_channels=6, out_channels=2, out_size=8)
    out = relay(torch.zeros(0, 6))
    assert out.shape == (0, 2, 8, 8)
    out.sum().backward()
    assert relay.fc.weight.grad.abs().sum() == 0
