"""What a measured training step consists of, and what is counted."""

from itertools import chain
from math import isnan

import pytest
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage
from torch import nn

from helpers import TINY, random_boxes
from scnet import get_config_file
from scnet.config import read_cfg
from scnet.engine import step_benchmark
from scnet.engine.step import StepTrainer
from scnet.engine.step_benchmark import make_objects, make_trainer, measure_step
from scnet.inference.benchmark import Settings
from scnet.inference.benchmark.models import count_flops
from scnet.modeling import compiled_regions
from scnet.modeling.compiled_regions import is_compiled

REGIONS = 64  # per image, a quarter of them with an object
CONFIG = get_config_file("quickstart.yaml")
# More than the objects, all of which the box stages append themselves.
OPTS = [*TINY, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", str(REGIONS)]
HTC = [
    *("MODEL.SCNET.MASK_BRANCH", "interleaved", "MODEL.SCNET.FEATURE_RELAY", "False"),
    *("MODEL.ROI_MASK_HEAD.NAME", "HTCMaskHead"),
]


def settings(*opts, **kwargs):
    numbers = {"size": (64, 96), "batch_size": 2, "rounds": 2, "warmup": 1, **kwargs}
    return Settings([CONFIG], device="cpu", opts=[*OPTS, *opts], **numbers)


def trainer_for(*opts, **kwargs):
    return make_trainer(CONFIG, settings(*opts, **kwargs))


def step(trainer):
    with EventStorage() as storage:
        trainer.run_step()
        return storage.latest()


@pytest.mark.parametrize("opts", [[], HTC], ids=["scnet", "htc"])
def test_mask_heads_train_on_nearly_as_many_regions_as_they_can(opts):
    trainer, counts = trainer_for(*opts), []
    for module in trainer.model.modules():
        if isinstance(module, nn.ConvTranspose2d):  # one per mask head
            module.register_forward_hook(lambda _, inputs, output: counts.append(len(output)))
    step(trainer)
    assert len(counts) == (3 if opts else 1)
    most = 2 * REGIONS // 4
    assert all(0.9 * most <= count <= most for count in counts)


def test_all_steps_are_the_same_work():
    trainer = trainer_for("SOLVER.BASE_LR", "0.1")
    before = [p.clone() for p in trainer.model.parameters()]
    first, second = step(trainer), step(trainer)
    assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), before))
    assert first["loss_mask"][0] == second["loss_mask"][0] > 0


def test_copies_are_near_the_objects():
    objects = make_objects(300, 400, num_classes=3)
    own = Instances((300, 400), proposal_boxes=Boxes(random_boxes(50, 300, 400)))
    own.objectness_logits = torch.rand(50, dtype=torch.bfloat16)
    result = step_benchmark.with_copies(own, objects, count=500)
    assert torch.equal(result.proposal_boxes.tensor[:50], own.proposal_boxes.tensor)
    copies = result[50:]
    iou = pairwise_iou(copies.proposal_boxes, objects.gt_boxes)
    iou = iou[torch.arange(500), torch.arange(500) % len(objects)]
    assert len(copies) == 500 and copies.objectness_logits.dtype == torch.bfloat16
    assert (iou > 0.7).float().mean() > 0.98 and 0.8 < iou.mean() < 0.95


def test_objects_are_in_the_image_and_fill_their_boxes():
    objects = make_objects(120, 200, num_classes=3)
    boxes = objects.gt_boxes.tensor
    assert (boxes >= 0).all() and (boxes[:, 2] <= 200).all() and (boxes[:, 3] <= 120).all()
    assert torch.equal(objects.gt_masks.get_bounding_boxes().tensor, boxes)
    assert torch.equal(objects.gt_masks.tensor.sum(dim=(1, 2)).float(), objects.gt_boxes.area())
    assert set(objects.gt_classes.tolist()) <= {0, 1, 2}


@pytest.fixture
def steps(monkeypatch):
    """The dtypes of the steps that were taken; each lasts a second longer than the one before."""
    taken, now = [], chain.from_iterable((100.0 * k, 100.0 * k + k) for k in range(1, 9))
    run_step = StepTrainer.run_step

    def counted(self):
        taken.append(self.precision)
        run_step(self)

    monkeypatch.setattr(StepTrainer, "run_step", counted)
    monkeypatch.setattr(step_benchmark, "clock", lambda device: next(now))
    monkeypatch.setattr(step_benchmark, "matrix_product_speed", lambda settings: 0.5)
    return taken


@pytest.mark.slow
def test_the_rounds_after_the_warm_up_count(steps):
    row = measure_step(CONFIG, settings(rounds=3, warmup=2))
    assert steps == [None] * (1 + 2 + 3)  # one to count the operations
    assert (row["config"], row["min"], row["total"], row["max"]) == ("quickstart", 3, 4, 5)
    assert row["limit"] == pytest.approx(row["GFLOPs"] / 0.5)
    assert row["of limit"] == pytest.approx(row["limit"] / 4)
    assert isnan(row["MiB"])

    trainer = trainer_for()
    batch = next(trainer.data_loader)
    with EventStorage():
        forward = count_flops(trainer.model, batch) * len(batch) / 1e9
    assert row["GFLOPs"] > 2 * forward  # the backward pass, too


@pytest.mark.slow
def test_precision_and_layout_are_those_that_are_asked_for(steps):
    asked = settings("SOLVER.CHANNELS_LAST", "True", dtype="bfloat16", rounds=1, warmup=0)
    assert measure_step(CONFIG, asked)["channels last"] == "yes"
    assert set(steps) == {torch.bfloat16}
    assert measure_step(CONFIG, settings(rounds=1, warmup=0))["channels last"] == "no"
    assert steps[-1] is None


@pytest.mark.slow
def test_steps_that_count_are_compiled_if_asked_for(monkeypatch):
    """But not the one whose operations are counted."""
    compiled, run_step = [], StepTrainer.run_step
    regions = {"regions": lambda model: {"rpn_head": model.proposal_generator.rpn_head}}
    for name, value in {"BACKEND": "eager", **regions}.items():  # for seconds, not minutes
        monkeypatch.setattr(compiled_regions, name, value)

    def noted(self):
        compiled.append(is_compiled(self.model))
        run_step(self)

    monkeypatch.setattr(StepTrainer, "run_step", noted)
    gflops = []
    for asked in (False, True):
        row = measure_step(CONFIG, settings(rounds=1, warmup=0, compile=asked))
        gflops.append(row["GFLOPs"])
    assert compiled == [False, False, False, True]
    assert gflops[0] == gflops[1]


def test_a_scaled_loss_does_not_overflow(monkeypatch):
    """Else the first steps of float16 would be without the optimizer."""
    asked, model = settings(dtype="float16"), trainer_for().model
    asked.device = "cuda"
    monkeypatch.setattr(step_benchmark, "make_model", lambda *_: model)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    scaler = make_trainer(CONFIG, asked).grad_scaler
    assert scaler.is_enabled() and scaler.get_scale() == 1


def test_the_memory_of_a_gpu_is_that_of_a_step_alone(monkeypatch):
    """Without the large matrices of the limit."""
    events, trainer = [], trainer_for()
    names = {
        (StepTrainer, "run_step"): "step",
        (torch.cuda, "reset_peak_memory_stats"): "reset",
        (torch.cuda, "max_memory_allocated"): "peak",
        (step_benchmark, "matrix_product_speed"): "product",
    }
    for (place, name), event in names.items():
        monkeypatch.setattr(place, name, lambda *_, event=event: events.append(event) or 2**20)
    monkeypatch.setattr(step_benchmark, "make_trainer", lambda *_: trainer)
    asked = settings(rounds=1, warmup=0)
    asked.device = "cuda"
    assert measure_step(CONFIG, asked)["MiB"] == 1
    assert events == ["step", "product", "reset", "step", "peak"]


def test_semantic_maps_are_as_the_mapper_makes_them():
    cfg = read_cfg(CONFIG, OPTS)
    for x in step_benchmark.make_training_batch(cfg, settings(size=(60, 100))):
        assert x["sem_seg"].shape == (8, 13) and x["sem_seg"].dtype == torch.uint8
        assert x["sem_seg"].max() < cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        assert x["image"].shape == (3, 60, 100) and len(x["instances"]) == step_benchmark.OBJECTS
