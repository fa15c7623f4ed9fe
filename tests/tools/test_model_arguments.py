"""Which model the arguments of a tool name."""

from argparse import ArgumentParser

import pytest

from scnet_tools.arguments import add_opts
from scnet_tools.model_arguments import add_model_arguments, read_model_config


@pytest.fixture
def read(tmp_path, monkeypatch):
    """read(words): the config of the model, in a folder with two configs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("MODEL: {WEIGHTS: 'first.pth'}\nSEED: 1\n")
    (tmp_path / "other.yaml").write_text("SEED: 2\n")
    (tmp_path / "sub").mkdir()
    for weights in ("w.pth", "sub/w.pth"):
        (tmp_path / weights).touch()

    def read(*words):
        parser = ArgumentParser()
        add_model_arguments(parser)
        add_opts(parser)
        return read_model_config(parser.parse_args(words))

    return read


@pytest.mark.parametrize(
    "words, weights, seed",
    [
        ("--weights w.pth", "w.pth", 1),
        ("--weights w.pth --opts SEED 7", "w.pth", 7),
        ("--weights w.pth --config other.yaml", "w.pth", 2),
        ("--config config.yaml", "first.pth", 1),
        ("--config other.yaml --opts MODEL.WEIGHTS v.pth", "v.pth", 2),
        ("--weights w.pth --opts MODEL.WEIGHTS ''", "w.pth", 1),
    ],
)
def test_weights_and_their_config(read, words, weights, seed):
    cfg = read(*words.split())
    assert weights == cfg.MODEL.WEIGHTS and seed == cfg.SEED


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "No model is named. Give its --weights, or a --config that names them"),
        ("--opts SEED 7", "No model is named"),
        ("--config other.yaml", "No weights. 'other.yaml' names none: give --weights"),
        ("--weights sub/w.pth", "'sub/w.pth' need a config, .* no config.yaml beside.* --config"),
        ("--weights scnet://R_50_FPN_20e", "need a config"),
        ("--weights nowhere.pth", "'nowhere.pth' do not exist"),
        ("--weights sub", "'sub' are a folder. Give a file"),
        ("--weights model.onnx", "'model.onnx' is an exported model.* give the weights"),
        ("--weights w.pth --opts MODEL.WEIGHTS v.pth", "named twice, in --weights and MODEL.WEIGH"),
    ],
)
def test_no_model(read, words, message):
    with pytest.raises((OSError, ValueError), match=message):
        read(*words.split())
