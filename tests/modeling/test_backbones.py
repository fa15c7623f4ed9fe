"""The backbones beside ResNet: what Detectron2 and timm have is used as it is, and keys hold."""

import logging
import sys

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, instantiate
from detectron2.model_zoo import get_config
from detectron2.modeling import SwinTransformer, build_backbone
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm

from helpers import detect, training_step
from narrow_backbones import BACKBONES, MVIT, REGNET, SWIN, VIT, of_timm, set_backbone
from scnet import get_config_file, optimize_for_inference
from scnet.checkpoint.load_model import load_model
from scnet.config import read_cfg
from scnet.inference import winograd
from scnet.modeling import SCNetWithTTA
from scnet.modeling.backbone.layer_order import layer_numbers
from scnet.modeling.backbone.pixel_statistics import WEIGHTS

timm = pytest.importorskip("timm", reason="needs timm, which is not installed")
CONVNEXT, RESNET = BACKBONES["convnext"], BACKBONES["resnet"]

all_backbones = pytest.mark.parametrize("keys", BACKBONES.values(), ids=BACKBONES)


def bottom_up_of(model):
    return getattr(model.backbone, "net", None) or model.backbone.bottom_up


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


@pytest.mark.parametrize("keys", [SWIN, VIT, MVIT], ids=["swin", "vit", "mvit"])
def test_published_weights_find_their_places(tiny_cfg, make_model, tmp_path, keys):
    """They have the names of the backbone alone, and Detectron2 finds them in the model."""
    one, other = (make_model(set_backbone(tiny_cfg, keys)) for _ in range(2))
    for parameter in one.parameters():
        torch.nn.init.uniform_(parameter)
    path = str(tmp_path / "backbone.pth")
    content = {"model": bottom_up_of(one).state_dict(), "matching_heuristics": True}
    torch.save(content, path)
    DetectionCheckpointer(other).load(path)
    loaded = bottom_up_of(other).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in content["model"].items())


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


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Weights of timm's test_resnet, in a file in place of its hub; how often they were read."""
    model = timm.create_model("test_resnet")
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 0.2)
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    create, calls = timm.create_model, []

    def create_model(name, pretrained, **kwargs):
        calls.append(pretrained)
        overlay = {"file": str(tmp_path / "timm.pth")}
        return create(name, pretrained, pretrained_cfg_overlay=overlay, **kwargs)

    monkeypatch.setattr(timm, "create_model", create_model)
    return model.state_dict(), calls


def right_pixels(cfg):
    """Those of test_resnet."""
    known = timm.create_model("test_resnet", False).pretrained_cfg
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.PIXEL_MEAN = [255 * x for x in known["mean"]]
    cfg.MODEL.PIXEL_STD = [255 * x for x in known["std"]]


def test_the_backbone_begins_with_timms_weights(tiny_cfg, make_model, weights, caplog):
    state, calls = weights
    set_backbone(tiny_cfg, of_timm("test_resnet", PRETRAINED=True))
    right_pixels(tiny_cfg)
    with caplog.at_level(logging.INFO):
        model = make_model(tiny_cfg)
    loaded = model.backbone.bottom_up.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.items() if name in state)
    assert calls[-1] is True
    assert "weights of 'test_resnet' (MODEL.TIMM.PRETRAINED), from " in caplog.text
    assert "timm.pth" in caplog.text
    assert "were trained on what the config has: INPUT.FORMAT RGB, MODEL.PIXEL_MEAN" in caplog.text


def test_other_weights_are_instead_of_timms(tiny_cfg, make_model, weights, tmp_path):
    _, calls = weights
    set_backbone(tiny_cfg, of_timm("test_resnet", PRETRAINED=True))
    right_pixels(tiny_cfg)
    model = make_model(tiny_cfg)
    path = str(tmp_path / "whole.pth")
    torch.save({"model": model.state_dict()}, path)
    calls.clear()
    load_model(tiny_cfg, path)  # MODEL.WEIGHTS of the config is empty
    tiny_cfg.MODEL.WEIGHTS = path
    make_model(tiny_cfg)
    assert calls == [False, False]


@pytest.mark.parametrize(
    "key, value",
    [
        ("INPUT.FORMAT", "BGR"),
        ("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0]),
        ("MODEL.PIXEL_STD", [1.0, 1.0, 1.0]),
    ],
)
def test_pixels_that_timms_weights_do_not_know(tiny_cfg, make_model, weights, key, value):
    set_backbone(tiny_cfg, of_timm("test_resnet", PRETRAINED=True))
    right_pixels(tiny_cfg)
    tiny_cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=f"Timm's weights of 'test_resnet'.*; the .*{key} "):
        make_model(tiny_cfg)


@pytest.mark.parametrize("start", WEIGHTS)
def test_pixels_that_weights_do_not_know(tiny_cfg, make_model, start):
    tiny_cfg.MODEL.WEIGHTS = f"{start}file"
    right = WEIGHTS[start]
    tiny_cfg.INPUT.FORMAT = right.order
    tiny_cfg.MODEL.PIXEL_MEAN, tiny_cfg.MODEL.PIXEL_STD = list(right.mean), list(right.std)
    make_model(tiny_cfg)
    tiny_cfg.INPUT.FORMAT = right.order[::-1]
    with pytest.raises(ValueError, match=f"The weights '{start}file'.*INPUT.FORMAT {right.order}"):
        make_model(tiny_cfg)


@all_backbones
def test_every_key_of_a_backbone_is_read(tiny_cfg, make_model, monkeypatch, keys):
    """A key that nothing reads would be accepted and ignored."""
    set_backbone(tiny_cfg, keys)
    section = tiny_cfg.MODEL[keys["BACKBONE.NAME"].split("_")[1].upper()]
    getattribute, read = CfgNode.__getattr__, set()

    def record(self, key):
        if self is section:
            read.add(key)
        return getattribute(self, key)

    monkeypatch.setattr(CfgNode, "__getattr__", record)
    make_model(tiny_cfg)
    assert read == section.keys()


REFUSED = {
    "TIMM.NAME of another backbone": (SWIN, {"TIMM__NAME": "resnet18"}, "MODEL.TIMM.NAME is"),
    "SWIN of another backbone": (VIT, {"SWIN__DROP_PATH": 0.1}, "MODEL.SWIN.DROP_PATH is 0.1"),
    "deformable Swin": (
        SWIN,
        {"RESNETS__DEFORM_ON_PER_STAGE": [True] * 4},
        "RESNETS.DEFORM_ON_PER_STAGE is .*MODEL.BACKBONE.NAME is 'build_swin_fpn_backbone'",
    ),
    "another ResNet": (CONVNEXT, {"RESNETS__DEPTH": 101}, "MODEL.RESNETS.DEPTH is 101"),
    "maps": (SWIN, {"FPN__IN_FEATURES": ["res2"]}, "IN_FEATURES is .'res2'., but Swin.* 'p0' .str"),
    "order of maps": (
        SWIN,
        {"FPN__IN_FEATURES": ["p1", "p0", "p2", "p3"]},
        "strides 4, 8, 16 and 32, in this order",
    ),
    "maps of ViT": (VIT, {"FPN__IN_FEATURES": ["res2"]}, "FPN.IN_FEATURES is .*ViT makes one map"),
    "average of one map": (VIT, {"FPN__FUSE_TYPE": "avg"}, "MODEL.FPN.FUSE_TYPE is avg"),
    "stages": (REGNET, {"REGNET__W_A": 5.0}, "give 2 stages, but a pyramid needs 4"),
    "no model": (of_timm("convnext_tinny"), {}, "timm .* does not have. The nearest are convnext"),
    "plain transformer": (of_timm("test_vit"), {}, r"has maps of the strides \[16"),
    "one size": (of_timm("swin_tiny_patch4_window7_224"), {}, "takes images of one size only"),
    "no such map": (of_timm("test_resnet", OUT_INDICES=(1, 9)), {}, "OUT_INDICES is .1, 9., but"),
    "norm": (of_timm("test_resnet", NORM="GN"), {}, "MODEL.TIMM.NORM is 'GN'. It may be"),
    "no batch norm": (of_timm("test_convnext", NORM="FrozenBN"), {}, "has no batch norm. Set it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_backbone_does_not_read_is_refused(tiny_cfg, make_model, case):
    keys, more, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make_model(set_backbone(tiny_cfg, keys, **more))


def test_keys_of_others_are_refused_for_resnets(tiny_cfg, make_model):
    tiny_cfg.MODEL.TIMM.NAME = "resnet18"
    with pytest.raises(ValueError, match="MODEL.TIMM.NAME is resnet18, but MODEL.BACKBONE.NAME is"):
        make_model(tiny_cfg)
    tiny_cfg.MODEL.TIMM.NAME = ""
    tiny_cfg.MODEL.BACKBONE.SQUARE_PAD = 192
    with pytest.raises(ValueError, match="MODEL.BACKBONE.SQUARE_PAD is 192, but"):
        make_model(tiny_cfg)


@pytest.mark.parametrize("keys", [SWIN, VIT, MVIT, CONVNEXT], ids=["swin", "vit", "mvit", "timm"])
def test_without_timm_the_key_is_named(tiny_cfg, make_model, monkeypatch, keys):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=f"{keys['BACKBONE.NAME']}' .*needs .*pip install"):
        make_model(set_backbone(tiny_cfg, keys))


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
