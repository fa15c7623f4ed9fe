"""What each kind of file of weights loads: the table in docs/weights.md."""

import logging
import pickle
import re
import sys

import pytest
import torch
import torchvision
from detectron2.modeling import build_model

from helpers import TINY, set_mask_branch
from narrow_backbones import SWIN, VIT, backbone_opts
from scnet import get_cfg, get_config_file
from scnet.checkpoint import SCNetCheckpointer
from scnet.checkpoint.fit import part_of

BACKBONE = "backbone.bottom_up."
BOX_HEAD = ("NUM_CONV", "CONV_DIM", "NUM_FC", "FC_DIM", "NORM")
# The heads of ViTDet's cascades, narrow.
ZOO_HEADS = [
    *("MODEL.RPN.CONV_DIMS", [-1, -1], "MODEL.ROI_BOX_HEAD.NUM_CONV", 4),
    *("MODEL.ROI_BOX_HEAD.CONV_DIM", 16, "MODEL.ROI_BOX_HEAD.NORM", "LN"),
    *("MODEL.ROI_BOX_HEAD.NUM_FC", 1),
]


@pytest.fixture
def cfg():
    """With the backbone that torchvision calls resnet18, and its images."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("scnet_R_50_FPN_1x_coco.yaml"))
    cfg.merge_from_list([*TINY, "MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64])
    return cfg


def resnet18():
    torch.manual_seed(1)
    return torchvision.models.resnet18()


def filled(model, value=0.25):
    """The parameters and buffers of a model, all of one value."""
    return {name: torch.full_like(x, value) for name, x in model.state_dict().items()}


def save_pickle(content, path):
    with open(path, "wb") as f:
        pickle.dump(content, f)


def load(model, path, caplog):
    """Load a file; return the names of the parameters that it gave, and what the log says."""
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, -3)
    with caplog.at_level(logging.INFO, "fvcore"):
        SCNetCheckpointer(model).load(str(path))
    loaded = {name for name, x in model.named_parameters() if not torch.all(x == -3)}
    return loaded, caplog.records[-1].getMessage()


def numbers_of(report):
    """The part of a model -> the numbers of its parameters: loaded, in all."""
    rows = re.findall(r"^ *([a-z_.]+) +([\d,]+) +([\d,]+)$", report, re.MULTILINE)
    return {name: tuple(int(x.replace(",", "")) for x in values) for name, *values in rows}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": weights},
        lambda weights: {f"module.{name}": x for name, x in weights.items()},
        lambda weights: {f"_orig_mod.{name}": x for name, x in weights.items()},
        lambda weights: {"state_dict": {f"module._orig_mod.{k}": x for k, x in weights.items()}},
        lambda weights: {name: x for name, x in weights.items() if not name.startswith("fc.")},
    ],
    ids=["plain", "state_dict", "model", "module", "_orig_mod", "all of it", "no classifier"],
)
def test_a_resnet_of_torchvision_or_timm_is_the_backbone(cfg, tmp_path, caplog, wrap):
    theirs = resnet18()
    torch.save(wrap(theirs.state_dict()), tmp_path / "resnet18.pth")
    model = build_model(cfg)
    loaded, report = load(model, tmp_path / "resnet18.pth", caplog)
    assert loaded == {name for name, _ in model.named_parameters() if name.startswith(BACKBONE)}
    conv = model.backbone.bottom_up.res3[1].conv2
    assert torch.equal(conv.weight, theirs.layer2[1].conv2.weight)
    # Its first stages are frozen, so that their batch norm has no parameters.
    count = sum(x.numel() for name, x in model.named_parameters() if name.startswith(BACKBONE))
    numbers = numbers_of(report)
    assert numbers.pop("backbone.bottom_up") == (count, count)
    assert all(loaded == 0 < total for loaded, total in numbers.values())
    assert report.startswith(f"{count:,} of {sum(x.numel() for x in model.parameters()):,} ")


def test_a_resnet_needs_the_images_that_it_was_trained_on(cfg, tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = cfg.MODEL.PIXEL_MEAN[::-1], [1.0, 1.0, 1.0]
    words = (
        r"MODEL.PIXEL_MEAN \[123.675, .* the config has .*MEAN \[103.53, .*order, too .INPUT.FORM"
    )
    with pytest.raises(ValueError, match=f"resnet18.pth' were trained on {words}"):
        SCNetCheckpointer(build_model(cfg)).load(str(tmp_path / "resnet18.pth"))


def test_another_backbone_is_refused(cfg, tmp_path):
    torch.save(torchvision.models.mobilenet_v2().state_dict(), tmp_path / "mobilenet.pth")
    with pytest.raises(ValueError, match="None of the .* tensors in .*mobilenet.pth' fits the "):
        SCNetCheckpointer(build_model(cfg)).load(str(tmp_path / "mobilenet.pth"))


def detectron2_cascade(cfg):
    """Detectron2's own Cascade Mask R-CNN, with the backbone and the widths of a config."""
    theirs = get_cfg()
    model = theirs.MODEL
    model.DEVICE = "cpu"
    model.META_ARCHITECTURE = "GeneralizedRCNN"
    for section in ("BACKBONE", "RESNETS", "SWIN", "VIT", "FPN", "ANCHOR_GENERATOR", "RPN"):
        model[section] = cfg.MODEL[section].clone()
    model.ROI_HEADS.NAME = "CascadeROIHeads"
    model.ROI_HEADS.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES
    box_head = {key: cfg.MODEL.ROI_BOX_HEAD[key] for key in BOX_HEAD}
    model.ROI_BOX_HEAD.update(NAME="FastRCNNConvFCHead", POOLER_RESOLUTION=7, **box_head)
    model.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    model.MASK_ON = True
    model.ROI_MASK_HEAD.update(NAME="MaskRCNNConvUpsampleHead", NUM_CONV=4, CONV_DIM=16)
    return build_model(theirs)


@pytest.mark.parametrize("branch", ["sample_consistency", "interleaved"])
def test_the_cascade_of_detectron2_gives_all_but_the_masks(cfg, tmp_path, caplog, branch):
    """Backbone, pyramid, RPN and the three box stages go over by name; the log lists the rest."""
    set_mask_branch(cfg, branch)
    save_cascade(cfg, tmp_path / "zoo.pkl")
    assert_all_but_the_masks(cfg, tmp_path / "zoo.pkl", caplog)


def save_cascade(cfg, path):
    weights = {name: x.numpy() for name, x in filled(detectron2_cascade(cfg)).items()}
    save_pickle({"model": weights, "__author__": "Detectron2 Model Zoo"}, path)


def assert_all_but_the_masks(cfg, path, caplog):
    model = build_model(cfg)
    loaded, report = load(model, path, caplog)
    parts = ("backbone", "proposal_generator", "roi_heads.box_head", "roi_heads.box_predictor")
    assert loaded == {name for name, _ in model.named_parameters() if name.startswith(parts)}
    assert "In the weights, but not in the model: roi_heads.mask_head.*" in report
    assert re.search("left at their initial values: .*semantic_head", report)


@pytest.mark.parametrize("keys", [SWIN, VIT], ids=["swin", "vit"])
def test_the_cascades_with_transformers_need_their_heads(cfg, tmp_path, caplog, keys):
    """With the keys of docs/weights.md all but the masks; without them less."""
    pytest.importorskip("timm", reason="needs timm, which is not installed")
    cfg.MODEL.RESNETS = get_cfg().MODEL.RESNETS  # nothing reads them
    cfg.merge_from_list(backbone_opts(keys, FPN__NORM="LN"))
    plain = cfg.clone()
    cfg.merge_from_list(ZOO_HEADS)
    save_cascade(cfg, tmp_path / "zoo.pkl")
    assert_all_but_the_masks(cfg, tmp_path / "zoo.pkl", caplog)

    loaded, report = load(build_model(plain), tmp_path / "zoo.pkl", caplog)
    numbers = numbers_of(report)
    whole = {part for part, (count, total) in numbers.items() if count == total}
    assert whole == {"backbone.bottom_up", "backbone.fpn", "roi_heads.box_predictor"} or (
        whole == {"backbone.net", "backbone.fpn", "roi_heads.box_predictor"}
    )
    for part in ("proposal_generator", "roi_heads.box_head"):  # what has the same name and shape
        assert 0 < numbers[part][0] < numbers[part][1]
    for name in ("rpn_head.conv.conv0.*", "roi_heads.box_head.0.conv1.*", "roi_heads.mask_head.*"):
        assert name in report.partition("In the weights, but not in the model")[2], report


def test_what_the_zoo_says_of_its_images_is_looked_at(cfg, tmp_path, caplog):
    weights = {"backbone.fpn_lateral2.weight": torch.zeros(16, 64, 1, 1).numpy()}
    weights["pixel_std"] = torch.ones(3, 1, 1).numpy()
    save_pickle({"model": weights, "__author__": "Detectron2 Model Zoo"}, tmp_path / "zoo.pkl")
    with pytest.raises(ValueError, match=r"zoo.pkl' were trained on .*_STD \[1.0, "):
        SCNetCheckpointer(build_model(cfg)).load(str(tmp_path / "zoo.pkl"))
    cfg.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
    loaded, report = load(build_model(cfg), tmp_path / "zoo.pkl", caplog)
    assert loaded == {"backbone.fpn_lateral2.weight"} and "pixel_std" not in report


@pytest.mark.parametrize("kind", ["own", "module", "_orig_mod", "inside _orig_mod", "state_dict"])
def test_a_model_of_our_own_gives_all(cfg, tmp_path, caplog, kind):
    model = build_model(cfg)
    weights = filled(model)
    content = {
        "own": {"model": weights, "iteration": 7},
        "module": {f"module.{name}": x for name, x in weights.items()},
        "_orig_mod": {"model": {f"_orig_mod.{name}": x for name, x in weights.items()}},
        "inside _orig_mod": {
            name.replace("backbone.", "backbone._orig_mod."): x for name, x in weights.items()
        },
        "state_dict": {"state_dict": weights},
    }[kind]
    torch.save(content, tmp_path / "model.pth")
    loaded, report = load(model, tmp_path / "model.pth", caplog)
    assert loaded == {name for name, _ in model.named_parameters()}
    assert all(loaded == total for loaded, total in numbers_of(report).values())
    assert "but not in the model" not in report and "initial values" not in report


@pytest.mark.parametrize("of", ["torchvision", "our own"])
def test_safetensors(cfg, tmp_path, caplog, of):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    model = build_model(cfg)
    weights = resnet18().state_dict() if of == "torchvision" else filled(model)
    weights = {name: x for name, x in weights.items() if name != "class_metadata"}
    safetensors.save_file(weights, tmp_path / "weights.safetensors")
    loaded, _ = load(model, tmp_path / "weights.safetensors", caplog)
    start = BACKBONE if of == "torchvision" else ""
    assert loaded == {name for name, _ in model.named_parameters() if name.startswith(start)}


@pytest.mark.parametrize("content", [b"", b"\x08" + bytes(30), b"PK", bytes(8)])
def test_damaged_safetensors(cfg, tmp_path, content):
    pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="weights.safetensors' is no file of safetensors, or"):
        SCNetCheckpointer(build_model(cfg)).load(str(tmp_path / "weights.safetensors"))


def test_without_safetensors(cfg, tmp_path, monkeypatch):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ValueError, match="needs the package safetensors. Install it: "):
        SCNetCheckpointer(build_model(cfg)).load(str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize(
    "name, part",
    [
        ("backbone.bottom_up.res2.0.conv1.weight", "backbone.bottom_up"),
        ("backbone.fpn_lateral2.weight", "backbone.fpn"),
        ("backbone.net.blocks.0.norm1.weight", "backbone.net"),
        ("backbone.simfp_2.4.norm.weight", "backbone.fpn"),
        ("roi_heads.box_head.0.fc1.weight", "roi_heads.box_head"),
        ("proposal_generator.rpn_head.conv.weight", "proposal_generator"),
        ("weight", "weight"),
    ],
)
def test_parts(name, part):
    assert part_of(name) == part
