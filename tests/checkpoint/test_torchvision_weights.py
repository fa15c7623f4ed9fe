import hashlib
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


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Detectron2's cache and that of PyTorch Hub."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "fvcore"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.fixture
def official(tmp_path, monkeypatch):
    """official(name, what the file holds) puts the file into the cache of PyTorch Hub."""

    def put(name, content):
        path = tmp_path / "hub/checkpoints/new"
        path.parent.mkdir(parents=True)
        torch.save(content, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        path = path.rename(path.with_name(f"{name}-{digest}.pth"))
        kind = type(torchvision.models.get_model_weights(name).DEFAULT)
        monkeypatch.setattr(kind, "url", f"https://download.pytorch.org/models/{path.name}")
        return path

    return put


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, resnet",
    [
        ("resnet50", {"DEPTH": 50}),
        ("resnext50_32x4d", {"DEPTH": 50, "NUM_GROUPS": 32, "WIDTH_PER_GROUP": 4}),
    ],
)
def test_converted_weights_give_torchvisions_features(name, resnet, official):
    theirs = torchvision.models.get_model(name, weights=None).eval()
    for module in theirs.modules():  # statistics that are not those of an untrained network
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    official(name, theirs.state_dict())

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


def test_converted_once(official):
    path = official("resnet18", torchvision.models.resnet18().state_dict())
    converted = PathManager.get_local_path("torchvision://resnet18")
    path.unlink()
    assert PathManager.get_local_path("torchvision://resnet18") == converted
    with open(converted, "rb") as f:
        assert "stem.conv1.weight" in pickle.load(f)["model"]


def test_without_network_it_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(OSError, match="https://.*resnext101_64x4d-.*pth .no network.*checkpoints"):
        PathManager.get_local_path("torchvision://resnext101_64x4d")
    assert not list(tmp_path.rglob("*.pkl"))


def test_the_hash_is_checked_in_the_caches_too(official):
    path = official("resnet18", torchvision.models.resnet18().state_dict())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(ValueError, match="resnet18-.*pth' is damaged or another file.*Delete it"):
        PathManager.get_local_path("torchvision://resnet18")
    path.write_bytes(whole)
    converted = PathManager.get_local_path("torchvision://resnet18")
    with open(converted, "r+b") as f:
        f.seek(1000)
        f.write(b"changed")
    with pytest.raises(ValueError, match="resnet18.pkl' is damaged or another file.*Delete it"):
        PathManager.get_local_path("torchvision://resnet18")
    os.remove(converted)
    assert PathManager.get_local_path("torchvision://resnet18") == converted


class Dangerous:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


def test_a_file_that_runs_code_is_refused(official, tmp_path):
    """Whoever can write it can write a hash that begins with the digits, too."""
    official("resnet18", {"conv1.weight": Dangerous(str(tmp_path / "made"))})
    with pytest.raises(ValueError, match="holds more than tensors.*mkdir.*Delete it"):
        PathManager.get_local_path("torchvision://resnet18")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["../resnet18", "/tmp/resnet18", "..", "a/b", ""])
@pytest.mark.parametrize("prefix", ["torchvision://", "scnet://"])
def test_names_that_are_paths_are_refused(tmp_path, prefix, name):
    with pytest.raises(ValueError, match="no weights of such a name"):
        PathManager.get_local_path(prefix + name)
    assert not list(tmp_path.rglob("*.lock"))


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
