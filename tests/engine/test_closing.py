"""The end of the log of a training."""

import logging
import shlex
import sys

import pytest

from scnet import get_cfg
from scnet.engine import closing
from scnet_tools import predict


@pytest.fixture
def cfg(tmp_path):
    """Of a training that has written all it writes, in a folder whose name a shell would split."""
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path / "my run's")
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("a/train",), ("a/val",)
    cfg.DATASETS.TEST_IMAGES = ("my images/val",)
    for name, _ in closing.FILES:
        path = tmp_path / "my run's" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("| a/val | segm | 31.4 |")
    return cfg


def test_it_names_what_is_there(cfg, tmp_path):
    words = closing.closing_words(cfg)
    for name, _ in closing.FILES:
        assert f"{tmp_path}/my run's/{name}  " in words
    assert "| 31.4 |" in words and "| 31.4 |" not in words.partition("model_best")[2]
    (tmp_path / "my run's/model_best.pth").unlink()
    assert "model_best" not in closing.closing_words(cfg)


def test_an_older_table_is_not_shown_where_nothing_is_evaluated(cfg):
    cfg.DATASETS.TEST = ()
    assert "31.4" not in closing.closing_words(cfg)


def test_the_command_can_be_pasted(cfg, monkeypatch, tmp_path):
    """The best weights are for it, if there are any, and the images that were evaluated on."""
    scnet, command, *arguments = shlex.split(closing.closing_words(cfg).splitlines()[-1])
    assert (scnet, command) == ("scnet", "predict")
    monkeypatch.setattr(sys, "argv", ["scnet predict", *arguments])
    args = predict.parse_args()
    predict.refuse_unused(args)
    assert args.weights == f"{tmp_path}/my run's/model_best.pth"
    assert args.output == f"{tmp_path}/my run's/predictions"
    assert args.input == ["my images/val"]


@pytest.mark.parametrize(
    "keys, images",
    [
        ({"TEST_IMAGES": ()}, "a/val"),  # a data set by its name
        ({"TEST": (), "TRAIN_IMAGES": ("t",)}, "t"),
        ({"TEST": (), "TEST_IMAGES": ()}, "a/train"),
    ],
)
def test_there_are_always_images_to_predict(cfg, keys, images):
    for key, value in keys.items():
        cfg.DATASETS[key] = value
    assert f"--input {images} " in closing.predict_command(cfg, "w.pth")


@pytest.mark.parametrize("rank", [0, 1])
def test_one_process_says_it(cfg, rank, monkeypatch, caplog):
    monkeypatch.setattr(closing.comm, "get_rank", lambda: rank)
    caplog.set_level(logging.INFO)
    closing.say_where_things_are(cfg)
    assert len(caplog.messages) == (rank == 0)
