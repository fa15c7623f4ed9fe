"""A backbone begins with the weights of timm or Detectron2, and they know its pixels."""

import logging

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer

from narrow_backbones import MVIT, SWIN, VIT, bottom_up_of, of_timm, set_backbone
from scnet.checkpoint.load_model import load_model
from scnet.modeling.backbone.pixel_statistics import WEIGHTS

timm = pytest.importorskip("timm", reason="needs timm, which is not installed")


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
