"""Models that are shared on Hugging Face, from a server that stands in for it."""

import logging
import sys

import pytest
import torch
from detectron2.utils.file_io import PathManager

from helpers import NAMES
from hub_stand_in import TOKEN
from scnet import Predictor
from scnet.checkpoint import SCNetCheckpointer
from scnet.checkpoint.hub import fetch
from scnet.modeling.class_metadata import make_metadata

constants = pytest.importorskip("huggingface_hub.constants", reason="needs huggingface_hub")
errors = pytest.importorskip("huggingface_hub.errors", reason="needs huggingface_hub")
safetensors = pytest.importorskip("safetensors.torch", reason="needs safetensors")

NAME = "someone/a-model.v1"
WEIGHTS = f"hf://{NAME}"


@pytest.fixture
def model(tiny_cfg, make_model):
    model = make_model(tiny_cfg)
    model.metadata = make_metadata({"thing_classes": NAMES})
    return model


@pytest.fixture
def files(tiny_cfg, model):
    """Of a repository."""
    return {
        "model.safetensors": safetensors.save(model.state_dict()),
        "config.yaml": tiny_cfg.dump().encode(),
    }


@pytest.fixture
def shared(files, hub_stand_in):
    return hub_stand_in.add(NAME, files)


def log_of(caplog, act):
    caplog.set_level(logging.INFO)
    act()
    return "\n".join(x.getMessage() for x in caplog.records)


def refused(weights, error=OSError):
    with pytest.raises(error) as info:
        PathManager.get_local_path(weights)
    return str(info.value)


def test_a_name_is_all_that_predicting_needs(shared, files, hub_stand_in, tmp_path, caplog):
    """Weights, config and names of the classes; the log names the commit, which holds for both."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    image = torch.randint(0, 255, (64, 80, 3), dtype=torch.uint8).numpy()
    predictors = []
    log = log_of(caplog, lambda: predictors.append(Predictor(WEIGHTS)))
    assert predictors[0].names == NAMES
    assert f"'{WEIGHTS}' is commit {shared.name(0)}" in log
    one, other = predictors[0](image), Predictor(str(tmp_path / "model.safetensors"))(image)
    assert len(one) and torch.equal(one.scores, other.scores)
    assert torch.equal(one.pred_masks, other.pred_masks)
    shared.commit({})
    PathManager.get_local_path(WEIGHTS)  # of one process: still that commit
    downloads = [x for x in hub_stand_in.requests if x.startswith("GET") and "resolve" in x]
    assert downloads == [
        f"GET /{NAME}/resolve/main/model.safetensors",
        f"GET /{NAME}/resolve/{shared.name(0)}/config.yaml",
    ]


def test_a_revision(shared, files, tiny_cfg):
    shared.commit({"model.safetensors": safetensors.save({"x": torch.ones(1)})})
    shared.tags["v1"] = 0
    for revision, number in (("v1", 0), (shared.name(0), 0), ("main", 1)):
        path = PathManager.get_local_path(f"{WEIGHTS}@{revision}")
        with open(path, "rb") as f:
            assert f.read() == shared.commits[number]["model.safetensors"]


def test_training_starts_from_it(shared, model, tiny_cfg, make_model):
    other = make_model(tiny_cfg)
    with torch.no_grad():
        for x in other.parameters():
            x.zero_()
    SCNetCheckpointer(other).resume_or_load(WEIGHTS, resume=False)
    state = model.state_dict()
    assert all(torch.equal(x, state[name]) for name, x in other.state_dict().items())


def test_offline_it_comes_from_the_cache(shared, hub_stand_in, monkeypatch):
    def offline(value):
        fetch.cache_clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", value)

    offline(True)
    message = refused(WEIGHTS)
    assert message.startswith(f"Cannot fetch '{WEIGHTS}': HF_HUB_OFFLINE is set, and it is not in")
    assert constants.HF_HUB_CACHE in message
    offline(False)
    path = PathManager.get_local_path(WEIGHTS)
    offline(True)
    hub_stand_in.requests.clear()
    assert PathManager.get_local_path(WEIGHTS) == path
    assert not hub_stand_in.requests


def test_a_private_repository_needs_a_token(shared, hub_stand_in, monkeypatch, caplog):
    """The token is sent, and is in no message."""
    shared.private = True
    message = refused(WEIGHTS)
    assert message.endswith(
        "there is no such repository, or it is not open to you. If it is private, log in: "
        "hf auth login, or the variable HF_TOKEN."
    )
    monkeypatch.setenv("HF_TOKEN", "hf_anotherone")
    assert "hf_anotherone" not in refused(WEIGHTS)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    log = log_of(caplog, lambda: PathManager.get_local_path(WEIGHTS))
    assert WEIGHTS in log and TOKEN not in log and "hf_anotherone" not in log
    assert hub_stand_in.tokens[-1] == TOKEN


@pytest.mark.parametrize(
    "weights, words",
    [
        ("hf://nobody/nothing", "there is no such repository"),
        (f"{WEIGHTS}@v9", "the repository has no such revision"),
    ],
)
def test_what_there_is_not(shared, weights, words):
    """The checkpointer says it in the same sentence."""
    message = refused(weights)
    assert message.startswith(f"Cannot fetch '{weights}': {words}")
    with pytest.raises(OSError) as info:
        SCNetCheckpointer(torch.nn.Linear(1, 1)).load(weights)
    assert str(info.value) == message


@pytest.mark.parametrize("name", ["someone", "a/b/c", "a/b@", "../b@main x"])
def test_what_is_no_name(name):
    assert "write hf://OWNER/NAME[@REVISION]" in refused(f"hf://{name}", ValueError)


def test_a_repository_without_weights_or_without_a_config(shared, files):
    config = files.pop("config.yaml")
    with pytest.raises(ValueError, match=f"'{WEIGHTS}' need a config, and there is no config.yaml"):
        Predictor(WEIGHTS)
    shared.commit({"config.yaml": config, "model_final.pth": b""})
    message = refused(f"{WEIGHTS}@main")
    assert "the repository has no model.safetensors. If it has other weights, fetch" in message


def test_a_config_that_is_lost_on_the_way_is_not_a_missing_one(shared, hub_stand_in):
    hub_stand_in.down = "config.yaml"
    assert "Cannot fetch" in refused(WEIGHTS)


def test_a_connection_that_breaks(shared, monkeypatch):
    def breaks(*args, **kwargs):
        raise errors.HTTPError("timed out")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", breaks)
    assert refused(WEIGHTS) == (
        f"Cannot fetch '{WEIGHTS}': the connection broke (timed out). Try again."
    )


def test_a_damaged_file_is_named(shared):
    path = PathManager.get_local_path(WEIGHTS)
    fetch.cache_clear()
    with open(path, "r+b") as f:
        f.write(b"x")
    assert "model.safetensors' is damaged or another file" in refused(WEIGHTS, ValueError)


def test_its_config_cannot_grant_trust(shared, files):
    files["config.yaml"] += b"\nMODEL: {TRUST_WEIGHTS: true}\n"
    with pytest.raises(ValueError, match="sets MODEL.TRUST_WEIGHTS"):
        Predictor(WEIGHTS)


def test_without_huggingface_hub_it_says_what_to_install(hub_stand_in, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs the package huggingface_hub" in refused(WEIGHTS, ValueError)
