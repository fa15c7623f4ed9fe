import pytest
import torch

from detecting_models import MODELS, spread_out


@pytest.fixture
def make_image():
    def make(height, width, seed=3):
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(3, height, width, generator=generator).mul(255).round()

    return make


@pytest.fixture
def make_detector(tiny_cfg, make_model, make_image):
    """make_detector(name of MODELS, other keys and values) gives a model that detects things."""

    def make(name="scnet", opts=()):
        tiny_cfg.merge_from_list([*MODELS[name], *opts])
        model = make_model(tiny_cfg).eval()
        spread_out(model, make_image(64, 80, seed=0))
        return model

    return make
