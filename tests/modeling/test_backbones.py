"""The backbones beside ResNet: what Detectron2 and timm have is used as it is."""

import pytest
import torch
from detectron2.config import instantiate
from detectron2.model_zoo import get_config
from detectron2.modeling import SwinTransformer, build_backbone
from torch.autograd.graph import saved_tensors_hooks

from helpers import detect, training_step
from narrow_backbones import (
    CONVNEXT,
    MVIT,
    REGNET,
    RESNET,
    SWIN,
    VIT,
    all_backbones,
    of_timm,
    set_backbone,
)
from scnet import get_config_file, optimize_for_inference
from scnet.config import read_cfg
from scnet.inference import winograd
from scnet.modeling import SCNetWithTTA

timm = pytest.importorskip("timm", reason="needs timm, which is not installed")


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@all_backbones
def test_every_backbone_trains_and_detects(tiny_cfg, make_model, make_batch, keys):
    """All parameters learn, and images of all sizes are taken."""
    model = make_model(set_backbone(tiny_cfg, keys, BACKBONE__FREEZE_AT=0))
    strides = {name: shape.stride for name, shape in model.backbone.output_shape().items()}
    assert strides == {f"p{k}": 2**k for k in range(2, 7)}
    batch = make_batch(tiny_cfg, [[0, 1], [4]], sizes=[(70, 90), (56, 64)])
    assert model.preprocess_image(batch).tensor.shape[-2:] == (96, 96)
    training_step(model, batch)
    assert all(parameter.requires_grad for parameter in model.backbone.parameters())
    assert [x.image_size for x in detect(model, batch)] == [(70, 90), (56, 64)]


@pytest.mark.slow
def test_swin_b_is_detectron2s():
    cfg = read_cfg(get_config_file("backbones/scnet_Swin-B_FPN_20e_coco.yaml"))
    theirs = SwinTransformer(
        embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32], drop_path_rate=0.3
    )
    ours = build_backbone(cfg).bottom_up
    assert shapes(ours) == shapes(theirs)
    rates = [
        [getattr(block.drop_path, "drop_prob", 0.0) for block in layer.blocks]
        for backbone in (ours, theirs)
        for layer in backbone.layers
    ]
    assert rates[:4] == rates[4:] and rates[3][-1] == pytest.approx(0.3)


@pytest.mark.slow
def test_vitdet_b_is_detectron2s():
    cfg = read_cfg(get_config_file("backbones/scnet_ViTDet-B_20e_coco.yaml"))
    ours = build_backbone(cfg)
    theirs = instantiate(get_config("common/models/mask_rcnn_vitdet.py").model.backbone)
    assert shapes(ours) == shapes(theirs)
    assert ours.padding_constraints == theirs.padding_constraints
    windows = [[block.window_size for block in x.net.blocks] for x in (ours, theirs)]
    assert windows[0] == windows[1]


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "test_resnet"])
def test_maps_and_names_are_timms(tiny_cfg, make_model, name):
    model = make_model(set_backbone(tiny_cfg, of_timm(name))).eval()
    ours = model.backbone.bottom_up
    whole = timm.create_model(name, features_only=True, out_indices=ours.indices).eval()
    theirs = timm.create_model(name)
    assert shapes(ours.model).items() <= shapes(theirs).items()
    theirs.load_state_dict(ours.model.state_dict(), strict=False)
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs.eval().forward_intermediates(
            image, indices=ours.indices, intermediates_only=True
        )
        found = ours(image)
    assert list(found) == ["res2", "res3", "res4", "res5"]
    for ours_, theirs_ in zip(found.values(), expected):
        assert torch.equal(ours_, theirs_)
    assert [x.channels for x in ours.output_shape().values()] == whole.feature_info.channels()


def test_maps_can_be_chosen(tiny_cfg, make_model):
    model = make_model(set_backbone(tiny_cfg, of_timm("test_resnet", OUT_INDICES=(1, 2, 3, 4))))
    assert model.backbone.bottom_up.indices == [1, 2, 3, 4]
    tiny_cfg.MODEL.TIMM.OUT_INDICES = (0, 1, 2, 3)
    with pytest.raises(ValueError, match="'res1' .stride 2.*Name those of the strides 4, 8, 16 an"):
        make_model(tiny_cfg)


@pytest.mark.parametrize("keys", [SWIN, VIT, MVIT, CONVNEXT], ids=["swin", "vit", "mvit", "timm"])
def test_drop_path(tiny_cfg, make_model, keys):
    """Blocks are left out at random in training, the later ones more often."""
    section = keys["BACKBONE.NAME"].split("_")[1].upper()
    tiny_cfg = set_backbone(tiny_cfg, keys, **{f"{section}__DROP_PATH": 0.5})
    backbone = make_model(tiny_cfg).backbone
    rates = [m.drop_prob for m in backbone.modules() if type(m).__name__ == "DropPath"]
    assert rates == sorted(rates) and rates[0] < 0.3 and rates[-1] == pytest.approx(0.5)
    image = torch.rand(4, 3, 64, 64)
    one, other = backbone(image), backbone(image)
    assert not torch.equal(one["p5"], other["p5"])
    backbone.eval()
    assert torch.equal(backbone(image)["p5"], backbone(image)["p5"])


@pytest.mark.parametrize("keys", [SWIN, VIT, REGNET, RESNET], ids=["swin", "vit", "regnet", "timm"])
def test_images_are_padded_to_squares(tiny_cfg, make_model, make_batch, keys):
    model = make_model(set_backbone(tiny_cfg, keys, BACKBONE__SQUARE_PAD=128))
    batch = make_batch(tiny_cfg, [[0, 1]], sizes=[(70, 90)])
    assert model.preprocess_image(batch).tensor.shape[-2:] == (128, 128)
    assert detect(model, batch)[0].image_size == (70, 90)
    large = make_batch(tiny_cfg, [[0, 1]], sizes=[(70, 130)])
    with pytest.raises(ValueError, match="70 x 130 .*larger than MODEL.BACKBONE.SQUARE_PAD 128"):
        detect(model, large)
    tiny_cfg.INPUT.MAX_SIZE_TEST = 129
    with pytest.raises(ValueError, match="INPUT.MAX_SIZE_TEST is 129, but .* squares of 128"):
        make_model(tiny_cfg)


def step(cfg, make_model, make_batch, places):
    """Losses, gradients and the bytes that the backbone keeps for the backward pass."""
    cfg.MODEL.SCNET.ACTIVATION_CHECKPOINTING = places
    model, kept = make_model(cfg).train(), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        maps = model.backbone(image)
    sum(x.sum() for x in maps.values()).backward()
    gradients = {n: p.grad for n, p in model.backbone.named_parameters() if p.requires_grad}
    assert gradients.keys() <= model.backbone.state_dict().keys()
    return maps, gradients, sum(kept.values())


@pytest.mark.parametrize("frozen", [0, 1])
@all_backbones
def test_activation_checkpointing(tiny_cfg, make_model, make_batch, keys, frozen):
    """Less is kept, and the numbers are the same, with drop path and behind a frozen stem."""
    set_backbone(tiny_cfg, keys, BACKBONE__FREEZE_AT=frozen)
    if keys is CONVNEXT:
        tiny_cfg.MODEL.TIMM.DROP_PATH = 0.5
    maps, gradients, kept = step(tiny_cfg, make_model, make_batch, ())
    maps2, gradients2, kept2 = step(tiny_cfg, make_model, make_batch, ("backbone",))
    assert all(torch.equal(maps2[name], value) for name, value in maps.items())
    assert gradients.keys() == gradients2.keys()
    assert all(torch.equal(gradients2[name], value) for name, value in gradients.items())
    assert kept2 < 0.8 * kept


@all_backbones
def test_the_optimized_copy_and_augmentation(tiny_cfg, make_model, make_batch, monkeypatch, keys):
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    set_backbone(tiny_cfg, keys)
    model, batch = make_model(tiny_cfg).eval(), make_batch(tiny_cfg, [[0], [1]])
    optimized = optimize_for_inference(model)
    with torch.no_grad():
        image = torch.rand(1, 3, 64, 96)
        image = image.to(memory_format=torch.channels_last)
        for one, other in zip(model.backbone(image).values(), optimized.backbone(image).values()):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    tiny_cfg.merge_from_list(["TEST.AUG.MIN_SIZES", (64, 96), "TEST.AUG.FLIP", True])
    found = SCNetWithTTA(tiny_cfg, optimized)([batch[0]])
    assert found[0]["instances"].image_size == (64, 80)


def test_winograd_leaves_alone_what_is_more_than_a_convolution(monkeypatch):
    from timm.layers import ScaledStdConv2d

    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    assert winograd.is_winograd(torch.nn.Conv2d(4, 4, 3, padding=1))
    assert not winograd.is_winograd(ScaledStdConv2d(4, 4, 3, padding=1))
