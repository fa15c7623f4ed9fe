"""The moving average of the weights."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from operations import Operations
from scnet.engine.hooks.ema import ExponentialMovingAverage


def load(path):
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("decay", [0.3, 0.99])
def test_against_a_slow_reference(decay):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    ema = ExponentialMovingAverage(model, decay)
    expected = {k: v.clone() for k, v in model.named_parameters()}
    for t in range(20):
        with torch.no_grad():
            for p in model.parameters():
                p.normal_()
            model[1].running_mean.normal_()
        ema.trainer = SimpleNamespace(iter=t)
        ema.after_step()
        d = min(decay, (1 + t) / (10 + t))
        expected = {k: d * expected[k] + (1 - d) * v for k, v in model.named_parameters()}
    for name, value in ema.averaged.named_parameters():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert torch.equal(ema.averaged[1].running_mean, model[1].running_mean)


def test_a_step_takes_as_many_calls_for_many_layers_as_for_few():
    def count(layers):
        model = nn.Sequential(*(nn.BatchNorm1d(3) for _ in range(layers)))
        ema = ExponentialMovingAverage(model, 0.9)
        ema.trainer = SimpleNamespace(iter=0)
        with Operations() as operations:
            ema.after_step()
        return operations.count

    assert count(2) == count(20)


def test_a_decay_that_is_none():
    with pytest.raises(ValueError, match="SOLVER.EMA.DECAY must be between 0 and 1, not 1"):
        ExponentialMovingAverage(nn.Linear(1, 1), 1)


def test_it_is_the_model_of_the_checkpoint_and_of_the_evaluation(make_trainer, tmp_path):
    trainer = make_trainer("SOLVER.EMA.ENABLED", True)
    start = {k: v.clone() for k, v in trainer.trained.named_parameters()}
    assert all(torch.equal(v, start[k]) for k, v in trainer.result.named_parameters())
    trainer.train()
    content = load(tmp_path / "run/model_final.pth")
    averaged, trained = dict(trainer.result.named_parameters()), trainer.trained.state_dict()
    name = "roi_heads.mask_branch.heads.0.predictor.weight"
    assert torch.equal(content["model"][name], averaged[name])
    assert torch.equal(content["training_model"][name], trained[name])
    assert not torch.equal(trained[name], averaged[name])
    assert not torch.equal(averaged[name], start[name])


def test_training_and_average_start_from_the_weights(make_trainer, tmp_path):
    other = make_trainer(output="other").trained
    torch.save({"model": other.state_dict()}, tmp_path / "start.pth")
    weights = ["MODEL.WEIGHTS", str(tmp_path / "start.pth"), "SEED", 9]
    trainer = make_trainer("SOLVER.EMA.ENABLED", True, *weights)
    for model in (trainer.trained, trainer.result):
        for name, value in model.named_parameters():
            assert torch.equal(value, other.get_parameter(name)), name
