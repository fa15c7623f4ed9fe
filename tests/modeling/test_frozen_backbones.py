"""Stages and batch norms of any backbone can be frozen."""

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from helpers import training_step
from narrow_backbones import (
    BACKBONES,
    CONVNEXT,
    RESNET,
    SWIN,
    VIT,
    bottom_up_of,
    of_timm,
    set_backbone,
)
from scnet.modeling.backbone.layer_order import layer_numbers

pytest.importorskip("timm", reason="needs timm, which is not installed")

# The stem and the stages that can be frozen: the first parameter that still trains.
FROZEN = {
    ("swin", 0): "patch_embed.proj.weight",
    ("swin", 1): "layers.0.blocks.0.norm1.weight",
    ("swin", 2): "layers.1.blocks.0.norm1.weight",
    ("vit", 1): "blocks.0.norm1.weight",
    ("vit", 2): "blocks.1.norm1.weight",
    ("mvit", 1): "blocks.0.norm1.weight",
    ("regnet", 2): "s2.b1.proj.weight",
    ("convnext", 1): "model.stages.0.blocks.0.gamma",
    ("convnext", 2): "model.stages.1.downsample.0.weight",
    ("efficientnet", 1): "model.blocks.0.0.conv.weight",
    ("resnet", 1): "model.layer1.0.conv1.weight",
    ("resnet", 3): "model.layer3.0.conv1.weight",
}


@pytest.mark.parametrize("name, count", FROZEN, ids=[f"{n}-{c}" for n, c in FROZEN])
def test_stages_are_frozen(tiny_cfg, make_model, make_batch, name, count):
    set_backbone(tiny_cfg, BACKBONES[name], BACKBONE__FREEZE_AT=count)
    tiny_cfg.MODEL.SCNET.FREEZE_BN_STATISTICS = False
    model = make_model(tiny_cfg)
    bottom_up = bottom_up_of(model)
    first = next(n for n, p in bottom_up.named_parameters() if p.requires_grad)
    assert first == FROZEN[name, count]
    numbers = layer_numbers(bottom_up, stages=True)
    trains = {n for n, p in bottom_up.named_parameters() if p.requires_grad}
    assert trains == {n for n, _ in bottom_up.named_parameters() if numbers.get(n, 99) >= count}
    before = {n: x.clone() for n, x in bottom_up.state_dict().items()}
    training_step(model, make_batch(tiny_cfg, [[0, 1], [4]]))
    changed = {n for n, x in bottom_up.state_dict().items() if not torch.equal(x, before[n])}
    for buffer in changed:  # statistics of batch norm
        assert numbers[buffer.rpartition(".")[0] + ".weight"] >= count, buffer
    if name in ("resnet", "efficientnet", "regnet"):
        assert changed


@pytest.mark.parametrize("keys", [SWIN, VIT, CONVNEXT], ids=["swin", "vit", "timm"])
def test_more_stages_than_there_are(tiny_cfg, make_model, keys):
    with pytest.raises(ValueError, match="MODEL.BACKBONE.FREEZE_AT is 9, but .* stages. Set it to"):
        make_model(set_backbone(tiny_cfg, keys, BACKBONE__FREEZE_AT=9))


def test_batch_norm_can_be_frozen(tiny_cfg, make_model, make_batch):
    set_backbone(tiny_cfg, of_timm("test_resnet", NORM="FrozenBN"), BACKBONE__FREEZE_AT=0)
    tiny_cfg.MODEL.SCNET.FREEZE_BN_STATISTICS = False
    model = make_model(tiny_cfg)
    bottom_up = model.backbone.bottom_up
    assert not any(isinstance(m, _BatchNorm) for m in bottom_up.modules())
    names = [name for name, _ in bottom_up.named_parameters()]
    assert names and not [name for name in names if ".bn" in name]
    plain = make_model(set_backbone(tiny_cfg, RESNET)).backbone.bottom_up.eval()
    state = {k: v for k, v in plain.state_dict().items() if "num_batches" not in k}
    assert state.keys() == bottom_up.state_dict().keys()
    bottom_up.load_state_dict(state)
    image = torch.rand(1, 3, 64, 64)
    for one, other in zip(bottom_up(image).values(), plain(image).values()):
        torch.testing.assert_close(one, other)  # activations of norms stay
