"""The losses on the validation data: what they are, and that the training takes no notice."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scnet.data.datasets import shapes
from scnet.engine.validation_loss import as_in_training

pytestmark = pytest.mark.slow
VALIDATED = {"validation_loss", "validation_loss/loss_mask", "validation_loss/loss_rpn_cls"}


@pytest.fixture
def test_set(environment):
    """Keys and values that make the validation images of the shapes the test set."""
    root = Path(environment["FVCORE_CACHE"], "scnet", f"shapes_v{shapes.VERSION}")
    json_file, images = root / "annotations/instances_val.json", root / "val"
    return [
        *("DATASETS.TEST_JSON", (str(json_file),), "DATASETS.TEST_IMAGES", (str(images),)),
        *("DATASETS.TRAIN_SEM_SEG", ()),  # the objects are what the semantic branch learns
    ]


def last_weights(trainer):
    """Of the trained model, and its buffers, such as the statistics of batch norm."""
    return {name: x.clone() for name, x in trainer.trained.state_dict().items()}


def random_states():
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]


def validated(tmp_path, lines_of, output):
    """The lines of metrics.json that have validation losses, as (iteration, losses)."""
    lines = lines_of(tmp_path / output / "metrics.json")
    return [
        (x["iteration"], {k: v for k, v in x.items() if k.startswith("validation_loss")})
        for x in lines
        if "validation_loss" in x
    ]


def test_a_training_is_the_same_with_it_and_goes_on_exactly(
    make_trainer, test_set, tmp_path, lines_of
):
    opts = [*test_set, "MODEL.SCNET.FREEZE_BN_STATISTICS", False, "SOLVER.CHECKPOINT_PERIOD", 2]
    without = make_trainer(*opts, "DATASETS.TEST_JSON", (), "DATASETS.TEST_IMAGES", ())
    without.train()
    opts += ["TEST.LOSS", True, "TEST.EVAL_PERIOD", 2]
    whole = make_trainer(*opts, output="whole")
    whole.train()
    make_trainer(*opts, "SOLVER.MAX_ITER", 2, output="parts").train()
    resumed = make_trainer(*opts, output="parts", resume=True)
    resumed.train()
    expected = last_weights(without)
    for trainer in (whole, resumed):
        found = last_weights(trainer)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert resumed.losses == {i: without.losses[i] for i in (2, 3)}
    found = validated(tmp_path, lines_of, "whole")
    assert [iteration for iteration, _ in found] == [1, 4]
    assert all(losses.keys() >= VALIDATED for _, losses in found)
    assert found[-1] == validated(tmp_path, lines_of, "parts")[-1]
    # What the model notes of a step is that of the training alone.
    assert "stage0/roi_head/num_fg_samples" not in found[-1][1]


def test_the_losses_are_those_of_the_images(make_trainer, test_set):
    """The same each time; the mean over the images; nothing of the model or chance has changed."""
    trainer = make_trainer(*test_set, "TEST.LOSS", True)
    model, losses = trainer.trained, trainer.validation_loss
    model.roi_heads.eval()  # as someone may have left it
    modes, states = [x.training for x in model.modules()], random_states()
    weights = last_weights(trainer)
    found = losses(model)
    assert losses(model) == found
    assert modes == [x.training for x in model.modules()]
    assert states == random_states()
    assert all(torch.equal(x, weights[name]) for name, x in last_weights(trainer).items())
    parts = {name: value for name, value in found.items() if "/" in name}
    assert found["validation_loss"] == pytest.approx(sum(parts.values()))
    loader, each = losses.loader, []
    for batch in list(loader):
        losses.loader = [batch]
        each.append(losses(model)["validation_loss"])
    assert len(each) == 6 and len(set(each)) == 6
    assert found["validation_loss"] == pytest.approx(sum(each) / 6)
    losses.loader = [[{"broken_image": "it is damaged"}]]
    assert losses(model) == {}


def test_maps_that_are_missing_are_named(make_trainer, test_set):
    with pytest.raises(ValueError, match="TEST.LOSS True needs semantic maps of .*instances_val"):
        make_trainer(*test_set[:4], "TEST.LOSS", True)


def test_which_layers_are_in_training_mode():
    """Those that make losses are; those that learn statistics or drop something are not."""
    layers = {"backbone": nn.Conv2d(3, 3, 1), "norm": nn.BatchNorm2d(3), "drop": nn.Dropout2d()}
    model = nn.ModuleDict({**layers, "head": nn.Sequential(nn.Linear(3, 3), nn.SyncBatchNorm(3))})
    model.eval()
    model["norm"].train()
    before = {name: x.training for name, x in model.named_modules()}
    with as_in_training(model):
        assert {name for name, x in model.named_modules() if x.training} == {"", "head", "head.0"}
    assert {name: x.training for name, x in model.named_modules()} == before
