"""The optimizer: Detectron2's steps and clipping, with few calls."""

import pytest
import torch
from detectron2.modeling import build_model, get_vit_lr_decay_rate
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from narrow_backbones import BACKBONES, set_backbone
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


@pytest.fixture
def groups_of(tiny_cfg):
    """groups_of(backbone, opts): the group of each parameter of a model, by its name."""
    pytest.importorskip("timm", reason="needs timm, which is not installed")

    def make(name, *opts):
        cfg = set_backbone(tiny_cfg, BACKBONES[name], BACKBONE__FREEZE_AT=0)
        cfg.merge_from_list(["SOLVER.BASE_LR", 1.0, "SOLVER.WEIGHT_DECAY", 0.05, *opts])
        model = build_model(cfg)
        groups = build_optimizer(cfg, model).param_groups
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        found = {names[id(p)]: group for group in groups for p in group["params"]}
        assert found.keys() == {name for name, _ in model.named_parameters()}
        return found

    return make


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("name", ["swin", "vit", "mvit", "convnext", "regnet"])
def test_norms_and_positions_do_not_decay(groups_of, name, optimizer):
    groups = groups_of(name, "SOLVER.OPTIMIZER", optimizer, "SOLVER.WEIGHT_DECAY_NORM", 0.01)
    positions = ("pos_embed", "rel_pos_h", "rel_pos_w", "relative_position_bias_table")
    kept = {n: g["weight_decay"] for n, g in groups.items() if n.startswith("backbone.")}
    of_positions = {n for n in kept if n.endswith(positions)}
    assert {kept.pop(n) for n in of_positions} == ({0.0} if of_positions else set())
    assert bool(of_positions) == (name in ("swin", "vit", "mvit"))
    norms = {n for n in kept if "norm" in n or "bn." in n}
    assert len(norms) > 6 and {kept[n] for n in norms} == {0.01}
    assert kept[next(n for n in kept if n.endswith("fc1.weight") or ".proj.weight" in n)] == 0.05


def test_layers_of_a_vit_learn_as_detectron2_has_it(groups_of):
    for name, group in groups_of("vit", "SOLVER.LAYER_DECAY", 0.7).items():
        expected = get_vit_lr_decay_rate(name, lr_decay_rate=0.7, num_layers=3)
        assert group["lr"] == pytest.approx(expected), name


@pytest.mark.parametrize(
    "name, order",
    {
        "swin": ["patch_embed.proj", "layers.0.blocks.0.mlp.fc1", "layers.0.blocks.1.mlp.fc1"]
        + ["layers.0.downsample.reduction", "layers.1.blocks.0.mlp.fc1"],
        "convnext": ["model.stem.0", "model.stages.0.blocks.0.conv_dw"],
        "mobilenetv3": ["model.conv_stem", "model.blocks.0.0.conv_dw", "model.blocks.1.0.conv_pw"],
        "regnet": ["stem.conv", "s1.b1.f.a", "s2.b1.f.a"],
    }.items(),
)
def test_early_layers_learn_slowly(groups_of, name, order):
    groups = groups_of(name, "SOLVER.LAYER_DECAY", 0.5)
    rates = [groups[f"backbone.bottom_up.{layer}.weight"]["lr"] for layer in order]
    assert all(rate * 2 == after for rate, after in zip(rates, rates[1:])), rates
    assert max(g["lr"] for n, g in groups.items() if "bottom_up" in n and "norm" not in n) == 0.5
    assert {group["lr"] for n, group in groups.items() if "bottom_up" not in n} == {1.0}


def test_what_layer_decay_cannot_be(groups_of):
    with pytest.raises(ValueError, match="SOLVER.LAYER_DECAY is 1.5. It must be"):
        groups_of("vit", "SOLVER.LAYER_DECAY", 1.5)
    with pytest.raises(ValueError, match="SOLVER.BIAS_LR_FACTOR is 2.0, but with SOLVER.LAYER_DEC"):
        groups_of("vit", "SOLVER.LAYER_DECAY", 0.5, "SOLVER.BIAS_LR_FACTOR", 2.0)
