"""A tiny model with its names and config, and images and a video on disk."""

import numpy as np
import pytest
import torch
from detectron2.data.catalog import Metadata

from helpers import NAMES


@pytest.fixture
def weights(tiny_cfg, make_model, tmp_path):
    """Weights with the names of the classes, and config.yaml beside them."""
    model = make_model(tiny_cfg)
    model.metadata = Metadata(thing_classes=NAMES)
    path = tmp_path / "run" / "model.pth"
    path.parent.mkdir()
    torch.save({"model": model.state_dict()}, path)
    (path.parent / "config.yaml").write_text(tiny_cfg.dump())
    return str(path)


@pytest.fixture
def images():
    """Images in BGR order; the first and the third are padded to the same size."""
    sizes = (64, 80), (50, 70), (64, 78), (80, 64)
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), np.uint8) for size in sizes]
