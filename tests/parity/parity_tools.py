"""What the parity tests share: reading images, comparing, and remembering by how much."""

from collections import defaultdict

import numpy as np
import torch

DEVIATIONS = defaultdict(float)
UNITS = {}


def image_tensor(fixture, key):
    """An image of a fixture (BGR) as the mapper would give it (RGB, 3 x H x W)."""
    return torch.as_tensor(fixture[key][:, :, ::-1].transpose(2, 0, 1).astype("float32"))


def note(quantity, value, unit):
    DEVIATIONS[quantity] = max(DEVIATIONS[quantity], float(value))
    UNITS[quantity] = unit


def assert_close(quantity, ours, reference, relative):
    """Compare tensors; the deviation is relative to the largest value of the reference."""
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else np.asarray(ours)
    assert ours.shape == reference.shape, f"{quantity}: {ours.shape}, not {reference.shape}"
    deviation = np.abs(ours - reference).max() / max(np.abs(reference).max(), 1e-12)
    note(quantity, deviation, "relative")
    assert deviation <= relative, f"{quantity} is off by {deviation:.2e}"
