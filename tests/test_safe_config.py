"""A config file is data: it runs no code, fetches nothing, and grants no trust."""

import pytest
import yaml
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from scnet import Predictor, get_cfg, get_config_file
from scnet.config import read_cfg
from scnet.engine.output_dir import check_former_config

RUNS = "!!python/object/apply:os.mkdir ['{}']"


@pytest.fixture
def made(tmp_path):
    return tmp_path / "made by the file"


@pytest.fixture(params=["alone", "base", "bases", "with an old version"])
def running(request, tmp_path, made):
    """A config that makes a folder when it is read with its tags."""
    code, path = f"OUTPUT_DIR: {RUNS.format(made)}\n", tmp_path / "config.yaml"
    (tmp_path / "base.yaml").write_text(code)
    text = {
        "alone": code,
        "base": "_BASE_: base.yaml\n",
        "bases": f"_BASE_: ['{get_config_file('quickstart.yaml')}', base.yaml]\n",
        "with an old version": f"VERSION: 1\n{code}",
    }
    path.write_text(text[request.param])
    return path


def through_the_config_file(path):
    read_cfg(path)


def through_a_script(path):
    get_cfg().merge_from_file(str(path))


def through_a_script_that_allows_it(path):
    get_cfg().merge_from_file(str(path), allow_unsafe=True)


def through_a_clone(path):
    get_cfg().clone().merge_from_file(str(path))


def through_the_weights_beside_it(path):
    weights = path.parent / "model.pth"
    weights.touch()
    Predictor(str(weights))


def through_the_run_that_goes_on(path):
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(path.parent)
    (path.parent / "metrics.json").write_text("{}")
    check_former_config(cfg)


DOORS = [f for name, f in sorted(globals().items()) if name.startswith("through_")]


@pytest.mark.parametrize("door", DOORS)
def test_python_tags_are_errors(running, made, door):
    with pytest.raises(ValueError, match="yaml' has a tag that is not read.*Write the value"):
        door(running)
    assert not made.exists()


class Fetching(PathHandler):
    """Stands for Detectron2's handlers of URLs; notes what was asked for."""

    def __init__(self):
        self.asked = []

    def _get_supported_prefixes(self):
        return ["https://", "http://", "fetched://"]

    def _note(self, path, *args, **kwargs):
        self.asked.append(path)
        raise OSError("fetched")

    _open = _get_local_path = _isfile = _exists = _note


@pytest.fixture
def network(monkeypatch):
    handler = Fetching()
    known = dict.fromkeys(handler._get_supported_prefixes(), handler)
    monkeypatch.setattr(PathManager, "_path_handlers", {**known, **PathManager._path_handlers})
    for prefix in known:
        PathManager._path_handlers[prefix] = handler
    return handler


@pytest.mark.parametrize("url", ["http://localhost/a.yaml", "https://a/b.yaml", "fetched://a.yaml"])
@pytest.mark.parametrize("door", DOORS)
def test_bases_that_are_urls_are_errors(tmp_path, monkeypatch, network, url, door):
    (tmp_path / "config.yaml").write_text(f"_BASE_: {url}\n")
    with pytest.raises(ValueError, match="/[ab].*yaml' is a URL|fetched://a.yaml' is a URL"):
        door(tmp_path / "config.yaml")
    with pytest.raises(ValueError, match="is a URL"):
        get_cfg().merge_from_file(url)
    monkeypatch.chdir(tmp_path)  # a path without a folder is joined with nothing
    with pytest.raises(ValueError, match="is a URL"):
        read_cfg("config.yaml")
    assert not network.asked


@pytest.mark.parametrize(
    "text",
    [
        "MODEL: {TRUST_WEIGHTS: true}",
        "MODEL: {TRUST_WEIGHTS: 'True'}",
        "_BASE_: base.yaml",
        "_BASE_: [base.yaml]",
        "MODEL: {<<: &a {TRUST_WEIGHTS: yes}}",
        "VERSION: 1\nMODEL: {TRUST_WEIGHTS: true}",
    ],
)
@pytest.mark.parametrize("door", DOORS)
def test_a_file_grants_no_trust(tmp_path, text, door):
    (tmp_path / "base.yaml").write_text("MODEL: {TRUST_WEIGHTS: true}")
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match="config.yaml', or .* sets MODEL.TRUST_WEIGHTS.*command"):
        door(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "text", ["MODEL: \"{'TRUST_WEIGHTS': True}\"", "MODEL.TRUST_WEIGHTS: true", "TRUST_WEIGHTS: 1"]
)
def test_nor_in_other_words(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    cfg = get_cfg()
    with pytest.raises(ValueError, match="config.yaml' cannot be used|Type mismatch"):
        cfg.merge_from_file(tmp_path / "config.yaml")
    assert not cfg.MODEL.TRUST_WEIGHTS


def test_the_command_and_python_do(tmp_path):
    (tmp_path / "config.yaml").write_text("MODEL: {TRUST_WEIGHTS: false}")
    assert read_cfg(tmp_path / "config.yaml", ["MODEL.TRUST_WEIGHTS", "True"]).MODEL.TRUST_WEIGHTS
    cfg = read_cfg("")
    cfg.MODEL.TRUST_WEIGHTS = True
    assert cfg.clone().MODEL.TRUST_WEIGHTS


def test_the_config_of_a_run_that_was_trusted_can_be_read(tmp_path):
    """The trust was for the weights that it began with, not for those that it wrote."""
    cfg = read_cfg("", ["MODEL.TRUST_WEIGHTS", "True"])
    cfg.freeze()
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert cfg.MODEL.TRUST_WEIGHTS
    again = read_cfg(tmp_path / "config.yaml")
    assert not again.MODEL.TRUST_WEIGHTS
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "has no lines 'KEY: VALUE'"),
        ("just words", "has no lines 'KEY: VALUE'"),
        ("[1, 2]", "has no lines 'KEY: VALUE'"),
        ("a: [", "is no YAML"),
        ("_BASE_: 7", "its _BASE_ is no text"),
        ("_BASE_: config.yaml", "in a circle"),
        ("_BASE_: none.yaml", "none.yaml' does not exist"),
        ("_BASE_: /dev/zero", "/dev/zero' does not exist"),
        ("MODEL: &a {B: *a}", "nested too deeply"),
        (
            "MODEL: {WEIGHTZ: a}",
            "config.yaml' cannot be used: there is no key MODEL.WEIGHTZ; the nearest",
        ),
        ("1: 2", "config.yaml' cannot be used"),
        ("SEED: 2020-01-01", "config.yaml' cannot be used"),
    ],
)
def test_odd_files_are_named(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_cfg(tmp_path / "config.yaml")


def test_other_projects_can_add_their_keys(tmp_path):
    """They make their nodes of Detectron2's class."""
    cfg = get_cfg()
    cfg.MODEL.OTHER = CfgNode({"A": 1, "B": {"C": 2}})
    (tmp_path / "config.yaml").write_text("MODEL: {OTHER: {B: {C: 3}}}")
    cfg.merge_from_file(tmp_path / "config.yaml")
    assert cfg.MODEL.OTHER.B.C == 3
