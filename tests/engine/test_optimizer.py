"""The optimizer: Detectron2's steps and clipping, with few calls."""

import pytest
import torch
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from operations import Operations
from scnet.config import get_cfg
from scnet.engine.optimizer import build_optimizer
from scnet.engine.step import StepTrainer


def make_cfg(*opts):
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.5, *opts])
    return cfg


def clipping(kind, limit=0.5, norm_type=2.0):
    keys = {"ENABLED": True, "CLIP_TYPE": kind, "CLIP_VALUE": limit, "NORM_TYPE": norm_type}
    return [x for key, value in keys.items() for x in (f"SOLVER.CLIP_GRADIENTS.{key}", value)]


def make_model(layers=3):
    """Layers with gradients, the last without: it took no part in the step."""
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(3, 4) for _ in range(layers)])
    for parameter in model[:-1].parameters():
        parameter.grad = 2 * torch.randn_like(parameter)
    return model


def same(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters()))


@pytest.mark.parametrize("kind, norm_type", [("value", 2.0), ("norm", 2.0), ("norm", float("inf"))])
def test_clipping_is_detectron2s(kind, norm_type):
    """Of each parameter by itself, bit for bit."""
    cfg = make_cfg(*clipping(kind, norm_type=norm_type))
    one, other, plain = make_model(), make_model(), make_model()
    build_optimizer(cfg, one).step()
    trained = other[:-1].parameters()  # Detectron2 trips over a parameter without a gradient
    maybe_add_gradient_clipping(cfg, torch.optim.SGD)(trained, lr=0.5).step()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = False
    cfg.SOLVER.WEIGHT_DECAY = 0.0
    build_optimizer(cfg, plain).step()
    for (name, p), q in zip(one.named_parameters(), other.parameters()):
        assert (p.grad is None) == (q.grad is None) == name.startswith("2.")
        assert p.grad is None or torch.equal(p.grad, q.grad), name
    assert not same(one, plain)


@pytest.mark.parametrize("kind", ["value", "norm"])
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("fused", [False, True])
def test_a_step_takes_as_many_calls_for_many_parameters_as_for_few(kind, optimizer, fused):
    def count(layers):
        cfg = make_cfg(*clipping(kind), "SOLVER.OPTIMIZER", optimizer, "SOLVER.FUSED", fused)
        built = build_optimizer(cfg, make_model(layers))
        built.step()  # the first makes its state
        with Operations() as operations:
            built.step()
        return operations.count

    assert count(5) == count(50)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_fused_takes_the_same_step(optimizer):
    models = [make_model(), make_model()]
    for model, fused in zip(models, (False, True)):
        cfg = make_cfg("SOLVER.OPTIMIZER", optimizer, "SOLVER.FUSED", fused)
        built = build_optimizer(cfg, model)
        assert {(bool(g["foreach"]), bool(g["fused"])) for g in built.param_groups} == {
            (not fused, fused)
        }
        for _ in range(3):
            built.step()
    for p, q in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(p, q)
    assert not same(models[0], make_model())


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients_are_clipped_by_their_own_size(fused):
    """Of float16; a fused optimizer would divide by the scale after they were clipped."""

    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)
            nn.init.ones_(self.layer.weight)

        def forward(self, batch):
            return {"loss": 0.25 * self.layer(batch[0]["image"]).float().sum()}

    model = Toy()
    cfg = make_cfg(*clipping("value", 0.3), "SOLVER.FUSED", fused, "SOLVER.WEIGHT_DECAY", 0.0)
    optimizer = build_optimizer(cfg, model)
    batches = [[{"image": torch.ones(1)}], [{"image": torch.full((1,), 2.0)}]]
    trainer = StepTrainer(model, batches, optimizer, precision=torch.float16)
    assert trainer.grad_scaler.is_enabled()
    trainer._write_metrics = lambda *_: None
    for expected in (1 - 0.5 * 0.25, 1 - 0.5 * 0.25 - 0.5 * (0.9 * 0.25 + 0.3)):
        trainer.iter = 0
        trainer.run_step()
        assert model.layer.weight.item() == pytest.approx(expected)


def test_another_way_of_clipping_is_named():
    with pytest.raises(ValueError, match="CLIP_TYPE must be 'value' or 'norm', not 'total'"):
        build_optimizer(make_cfg(*clipping("total")), make_model())
