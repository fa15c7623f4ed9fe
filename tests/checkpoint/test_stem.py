"""Weights for colours begin the training on images with other channels."""

import logging
import pickle

import pytest
import torch
import torchvision
from detectron2.config import CfgNode

from narrow_backbones import BACKBONES, backbone_opts
from scnet.checkpoint import SCNetCheckpointer
from scnet.checkpoint.stem import adapt_kernels, first_convolution

CHANNELS = {
    1: [*("INPUT.CHANNELS", 1, "MODEL.PIXEL_MEAN", [118.0], "MODEL.PIXEL_STD", [57.0])],
    3: [*("MODEL.PIXEL_MEAN", [118.0] * 3, "MODEL.PIXEL_STD", [57.0] * 3)],
    5: [*("INPUT.CHANNELS", 5, "MODEL.PIXEL_MEAN", [118.0] * 5, "MODEL.PIXEL_STD", [57.0] * 5)],
}


@pytest.fixture
def make(tiny_cfg, make_model):
    """make(channels, *opts) gives a model for so many channels, of the values of CHANNELS."""

    def make(channels, *opts):
        cfg: CfgNode = tiny_cfg.clone()
        cfg.merge_from_list([*CHANNELS[channels], *opts])
        return make_model(cfg)

    return make


def save(model, path):
    torch.save({"model": model.state_dict()}, path)
    return str(path)


@pytest.mark.parametrize("name", ["of the quick start", *BACKBONES])
def test_gray_gives_what_it_gave_as_three_equal_channels(make, tmp_path, name):
    """Whatever the backbone, after the start of a training."""
    opts = backbone_opts(BACKBONES[name]) if name in BACKBONES else []
    if name not in ("of the quick start", "regnet"):
        pytest.importorskip("timm", reason="needs timm, which is not installed")
    three, one = make(3, *opts).eval(), make(1, *opts)
    SCNetCheckpointer(one.train()).resume_or_load(save(three, tmp_path / "a.pth"), resume=False)
    gray = torch.randint(0, 256, (1, 64, 80))
    images = [
        x.preprocess_image([{"image": y}]) for x, y in ((three, gray.repeat(3, 1, 1)), (one, gray))
    ]
    with torch.no_grad():
        for expected, found in zip(
            *(model.eval().backbone(x.tensor).values() for model, x in zip((three, one), images))
        ):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_kernels_for_more_channels():
    kernels = torch.rand(2, 3, 5, 5)
    five = adapt_kernels(kernels, 5)
    assert torch.equal(five, kernels[:, [0, 1, 2, 0, 1]] * (3 / 5))
    assert torch.equal(adapt_kernels(kernels, 2), kernels[:, :2] * (3 / 2))
    adapt = pytest.importorskip("timm.models", reason="needs timm").adapt_input_conv
    for channels in (1, 2, 4, 5, 6, 9):
        torch.testing.assert_close(adapt_kernels(kernels, channels), adapt(channels, kernels))


def test_the_report_says_so(make, tmp_path, caplog):
    path = save(make(3), tmp_path / "a.pth")
    with caplog.at_level(logging.INFO, "fvcore"):
        SCNetCheckpointer(make(5)).resume_or_load(path, resume=False)
    assert "The first layer has 3 channels in the weights and 5 in the model. The kernels of" in (
        caplog.text
    )
    assert "('backbone.bottom_up.stem.conv1.weight') were repeated and scaled by 3/5" in caplog.text
    count = sum(x.numel() for x in make(5).parameters())
    assert f"{count:,} of {count:,} parameters were loaded" in caplog.text


@pytest.mark.parametrize("ending", [".pth", ".pkl"])
def test_files_of_backbones_with_other_names(make, tmp_path, caplog, ending):
    """Of torchvision, and of Caffe2, whose names become Detectron2's later."""
    opts = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]
    opts += ["MODEL.RESNETS.STEM_OUT_CHANNELS", 64, "MODEL.RESNETS.STRIDE_IN_1X1", False]
    weights = torchvision.models.resnet18().state_dict()
    kernels, path = weights["conv1.weight"], tmp_path / f"a{ending}"
    if ending == ".pth":
        torch.save(weights, path)
    else:
        path.write_bytes(pickle.dumps({"conv1_w": kernels.numpy()}))
    model = make(5, *opts)
    with caplog.at_level(logging.INFO):
        SCNetCheckpointer(model).resume_or_load(str(path), resume=False)
    assert torch.equal(model.backbone.bottom_up.stem.conv1.weight, adapt_kernels(kernels, 5))
    if ending == ".pth":  # which says what it was trained on
        assert "were trained on MODEL.PIXEL_MEAN [123.675, 116.28, 103.53]" in caplog.text
        assert "For INPUT.CHANNELS 5 and INPUT.DTYPE uint8 the config has MODEL" in caplog.text


def test_nothing_is_adapted_but_at_a_start(make, tmp_path):
    path = save(make(3), tmp_path / "a.pth")
    model = make(5)
    before = first_convolution(model).weight.detach().clone()
    SCNetCheckpointer(model).load(path)  # as a run goes on
    assert torch.equal(first_convolution(model).weight, before)
    with pytest.raises(ValueError, match="or have them in another shape: .*stem.conv1.weight"):
        SCNetCheckpointer(model.eval()).load(path)
