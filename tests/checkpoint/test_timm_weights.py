"""Weights that are named as timm names them, from a cache of huggingface_hub made here."""

import hashlib
import os
import sys

import pytest
import torch
from detectron2.utils.file_io import PathManager

from narrow_backbones import backbone_opts, of_timm
from scnet.checkpoint import SCNetCheckpointer
from scnet.modeling.backbone.pixel_statistics import known_pixels

timm = pytest.importorskip("timm", reason="needs timm, which is not installed")
safetensors = pytest.importorskip("safetensors.torch", reason="needs safetensors")
hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")

NAME = "test_resnet.r160_in1k"


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Detectron2's cache and that of huggingface_hub, and no network."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "fvcore"))
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def state():
    """The weights of timm's test_resnet, with its classifier."""
    torch.manual_seed(1)
    return timm.create_model("test_resnet").state_dict()


@pytest.fixture
def fetched(caches, state):
    """The file as huggingface_hub keeps it."""
    content = safetensors.save(state)
    folder = caches / f"models--timm--{NAME}"
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    snapshot = folder / "snapshots" / ("1" * 40)
    for path in (blob.parent, snapshot, folder / "refs"):
        path.mkdir(parents=True)
    blob.write_bytes(content)
    (folder / "refs/main").write_text(snapshot.name)
    os.symlink(blob, snapshot / "model.safetensors")
    return blob


def make_cfg(tiny_cfg, weights):
    tiny_cfg.merge_from_list(backbone_opts(of_timm("test_resnet")))
    tiny_cfg.MODEL.WEIGHTS = weights
    known = timm.get_pretrained_cfg("test_resnet")
    tiny_cfg.MODEL.PIXEL_MEAN = [255 * x for x in known.mean]
    tiny_cfg.MODEL.PIXEL_STD = [255 * x for x in known.std]
    return tiny_cfg


def assert_loaded(model, state):
    loaded = model.backbone.bottom_up.model.state_dict()
    assert loaded and all(torch.equal(x, state[name]) for name, x in loaded.items())


@pytest.mark.parametrize("name", [NAME, "test_resnet"])
def test_the_backbone_of_timm_begins_with_them(tiny_cfg, make_model, fetched, state, name):
    """Without a tag they are those that timm takes. The file is converted once."""
    if name != NAME:
        assert timm.get_pretrained_cfg(name).hf_hub_id == f"timm/{NAME}"
    model = make_model(make_cfg(tiny_cfg, f"timm://{name}"))
    SCNetCheckpointer(model).resume_or_load(tiny_cfg.MODEL.WEIGHTS, resume=False)
    assert_loaded(model, state)
    fetched.unlink()
    assert PathManager.get_local_path(f"timm://{name}").endswith(f"{name}.pth")


def test_a_local_file_of_timm(tiny_cfg, make_model, state, tmp_path):
    """It is a ResNet, whose names are those of Detectron2's ResNet where the model has one."""
    torch.save(state, tmp_path / "timm.pth")
    model = make_model(make_cfg(tiny_cfg, ""))
    SCNetCheckpointer(model).resume_or_load(str(tmp_path / "timm.pth"), resume=False)
    assert_loaded(model, state)


def test_other_channels(tiny_cfg, make_model, fetched, state):
    cfg = make_cfg(tiny_cfg, f"timm://{NAME}")
    cfg.merge_from_list(["INPUT.CHANNELS", 1, "MODEL.PIXEL_MEAN", [9.0], "MODEL.PIXEL_STD", [9.0]])
    model = make_model(cfg)
    SCNetCheckpointer(model).resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    found = model.backbone.bottom_up.model.conv1[0].weight
    kernels = state["conv1.0.weight"]
    torch.testing.assert_close(found.detach(), kernels.sum(dim=1, keepdim=True))


def test_the_images_are_those_that_the_weights_know(tiny_cfg, make_model):
    assert known_pixels("timm://tf_efficientnet_lite0.in1k").mean == (127.5,) * 3
    cfg = make_cfg(tiny_cfg, f"timm://{NAME}")
    cfg.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match=f"'timm://{NAME}' .* were trained on INPUT.FORMAT RGB"):
        make_model(cfg)


def test_a_damaged_file_is_named(fetched):
    content = fetched.read_bytes()
    fetched.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="model.safetensors' is damaged or another file.*Delete"):
        PathManager.get_local_path(f"timm://{NAME}")


@pytest.mark.parametrize(
    "name, words",
    [
        ("test_resnet.nowhere", f"no such weights. The nearest are .*{NAME}"),
        ("resnet51", "no such weights. The nearest are .*resnet50"),
        ("gcvit_tiny.in1k", "timm has no such weights on Hugging Face"),
    ],
)
def test_weights_that_there_are_not(name, words):
    with pytest.raises(ValueError, match=f"'timm://{name}': .*{words}"):
        PathManager.get_local_path(f"timm://{name}")


def test_without_network_it_says_what_to_do():
    words = f"'timm://{NAME}' from timm/{NAME} on Hugging Face: .* Connect to the network once"
    with pytest.raises(OSError, match=words):
        PathManager.get_local_path(f"timm://{NAME}")


def test_without_timm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ValueError, match="'timm://convnext_tiny' .MODEL.WEIGHTS. needs the package"
    ):
        PathManager.get_local_path("timm://convnext_tiny")
