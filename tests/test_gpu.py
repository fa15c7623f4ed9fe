"""On a GPU: the same detections and losses as on a CPU, lower precision, and waits of the host."""

import copy
import warnings
from itertools import repeat

import pytest
import torch
from detectron2.utils.events import EventStorage

from detecting_models import MODELS, spread_out
from helpers import detect
from host_waits import allowed_waits, our_waits, poolings_of
from parity_tools import match
from scnet import optimize_for_inference
from scnet.engine.optimizer import build_optimizer
from scnet.engine.step import StepTrainer

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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_lower_precision_trains_and_finds_objects(cfg, make_model, make_batch, dtype):
    model = make_model(cfg).to(DEVICE)
    batch = make_batch(cfg, [[0, 1, 2], [3]])
    trainer = StepTrainer(model, repeat(batch), build_optimizer(cfg, model), precision=dtype)
    before = copy.deepcopy(model.state_dict())
    with EventStorage() as storage:
        for _ in range(10):  # in float16 the scale of the loss is found first
            trainer.run_step()
        assert all(value == value for value, _ in storage.latest().values())
    after = model.state_dict()
    changed = [name for name, x in after.items() if not torch.equal(x, before[name])]
    assert {name for name, _ in model.named_parameters() if "mask_branch" in name} <= set(changed)
    assert all(torch.isfinite(x).all() for x in after.values())

    optimized = optimize_for_inference(model, dtype)
    (found,) = detect(optimized, [{"image": torch.rand(3, 96, 128) * 255}])
    assert len(found) and torch.isfinite(found.pred_boxes.tensor).all()
    assert found.scores.dtype == torch.float32 and found.pred_masks.any()


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_the_host_waits_no_more_than_is_counted_on_the_pretend_gpu(
    models, cfg, make_batch, training
):
    _, model = models
    model.train(training)
    batch = make_batch(cfg, [[0, 1, 2], [3]])
    with (
        poolings_of(model) as poolings,
        EventStorage(),
        torch.set_grad_enabled(training),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            model(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [w.filename for w in caught if "synchronizing CUDA operation" in str(w.message)]
    assert waits  # else they are not seen
    assert our_waits(waits) <= allowed_waits(cfg, len(poolings), training)
