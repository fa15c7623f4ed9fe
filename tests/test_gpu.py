"""On a GPU: in float32 the same detections and losses as on a CPU."""

import copy

import pytest
import torch
from detectron2.utils.events import EventStorage

from detecting_models import MODELS, spread_out
from helpers import detect
from parity_tools import match

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and PyTorch sees none"),
]
# All regions and anchors are samples, so that none is drawn at random.
ALL_ARE_SAMPLES = [
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 4096, "MODEL.RPN.BATCH_SIZE_PER_IMAGE", 4096),
]


@pytest.fixture(autouse=True)
def no_tf32():
    """It rounds to 10 bits, which float32 on a CPU does not."""
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = False
    yield
    for place, value in zip(places, before):
        place.allow_tf32 = value


@pytest.fixture(params=["scnet", "naive", "htc", "cascade"])
def cfg(request, tiny_cfg):
    tiny_cfg.merge_from_list([*MODELS[request.param], *ALL_ARE_SAMPLES])
    return tiny_cfg


@pytest.fixture
def models(cfg, make_model):
    """One model on the CPU and on the GPU, with detections that differ clearly."""
    model = make_model(cfg).eval()
    spread_out(model, torch.rand(3, 96, 128) * 255)
    return model, copy.deepcopy(model).to(DEVICE)


def test_the_same_detections(models):
    batch = [{"image": torch.rand(3, 96, 128) * 255, "height": 96, "width": 128}]
    (expected,), (found,) = (detect(model, batch) for model in models)
    assert found.scores.device.type == DEVICE
    found = found.to("cpu")
    assert len(found) == len(expected) > 0
    index, distance = match(
        found, expected.pred_boxes.tensor.numpy(), expected.pred_classes.numpy()
    )
    assert sorted(index) == list(range(len(found))) and distance.max() < 1e-2  # pixels
    assert (found.scores[index] - expected.scores).abs().max() < 1e-4
    wrong = (found.pred_masks[index] != expected.pred_masks).float().mean(dim=(1, 2))
    assert wrong.max() < 5e-4


def test_the_same_losses(models, cfg, make_batch):
    batch = make_batch(cfg, [[0, 1, 2], [3]])
    losses = []
    for model in models:
        with EventStorage():
            losses.append(model.train()(batch))
    expected, found = losses
    assert found.keys() == expected.keys()
    for name, loss in found.items():
        assert loss.device.type == DEVICE
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-3, abs=1e-5), name
