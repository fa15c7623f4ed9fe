import os
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager

from scnet import get_cfg, get_config_file
from scnet.checkpoint.torchvision_weights import to_detectron2
from scnet.checkpoint.zoo import ZooHandler


@pytest.mark.parametrize(
    "name, resnet",
    [
        ("resnet50", {"DEPTH": 50}),
        ("resnext50_32x4d", {"DEPTH": 50, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4}),
    ],
)
def test_converted_weights_give_torchvisions_features(name, resnet, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    theirs = torchvision.models.get_model(name, weights=None).eval()
    for module in theirs.modules():  # statistics that are not those of an untrained network
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    kind = type(torchvision.models.get_model_weights(name).DEFAULT)
    monkeypatch.setattr(kind, "get_state_dict", lambda *a, **k: theirs.state_dict())

    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("scnet_R_50_FPN_1x_coco.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    for key, value in resnet.items():
        cfg.MODEL.RESNETS[key] = value
    model = build_model(cfg)
    DetectionCheckpointer(model).load(f"torchvision://{name}")
    model.eval()

    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        out = model.backbone.bottom_up(x)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for k in (1, 2, 3, 4):
            x = getattr(theirs, f"layer{k}")(x)
            torch.testing.assert_close(out[f"res{k + 1}"], x, rtol=1e-4, atol=1e-4)


def test_converted_once(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    kind = type(torchvision.models.get_model_weights("resnet18").DEFAULT)
    calls = []

    def get_state_dict(self, **kwargs):
        calls.append(self)
        return torchvision.models.resnet18().state_dict()

    monkeypatch.setattr(kind, "get_state_dict", get_state_dict)
    paths = {PathManager.get_local_path("torchvision://resnet18") for _ in range(2)}
    assert len(calls) == len(paths) == 1
    with open(paths.pop(), "rb") as f:
        assert "stem.conv1.weight" in pickle.load(f)["model"]


def test_without_network_it_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    kind = type(torchvision.models.get_model_weights("resnext101_64x4d").DEFAULT)

    def no_network(self, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(kind, "get_state_dict", no_network)
    with pytest.raises(OSError, match="https://.*resnext101_64x4d-.*pth .no network.*checkpoints"):
        PathManager.get_local_path("torchvision://resnext101_64x4d")
    assert not list(tmp_path.rglob("*.pkl"))


def test_unknown_names():
    with pytest.raises(ValueError, match="resnet51': torchvision has no such model"):
        PathManager.get_local_path("torchvision://resnet51")
    with pytest.raises(ValueError, match="'features.0.weight' is no parameter of a ResNet"):
        to_detectron2({"features.0.weight": torch.zeros(1)})


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_others_may_read_converted_weights_if_the_umask_lets_them(
    tmp_path, monkeypatch, umask, mode
):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(ZooHandler, "convert", lambda self, name, folder: b"weights")
    before = os.umask(umask)
    try:
        path = ZooHandler()._get_local_path("scnet://R_50_FPN_1x")
    finally:
        os.umask(before)
    assert Path(path).stat().st_mode & 0o777 == mode
    assert {p.suffix for p in Path(path).parent.iterdir()} <= {".pth", ".lock", ".sha256"}
