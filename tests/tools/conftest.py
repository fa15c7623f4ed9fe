"""What the tests of predict.py share: a tiny model, images, and the script in this process."""

import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from detectron2.data.catalog import Metadata

from helpers import NAMES, REPOSITORY, TINY

SCRIPT = "projects/SCNet/tools/predict.py"
CONFIG = "projects/SCNet/configs/quickstart.yaml"


@pytest.fixture
def weights(tiny_cfg, make_model, tmp_path):
    model = make_model(tiny_cfg)
    model.metadata = Metadata(thing_classes=NAMES)
    path = tmp_path / "model.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.fixture
def images(tmp_path):
    for name, shape in {"a.png": (64, 80), "sub/b.jpg": (50, 70)}.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8))
    (tmp_path / "images/notes.txt").write_text("not an image")
    return tmp_path / "images"


@pytest.fixture
def run_script(monkeypatch, capfd):
    """Run the script within this process, as starting another takes longer than the rest."""

    def run_script(*args):
        monkeypatch.chdir(REPOSITORY)
        monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, args)])
        runpy.run_path(SCRIPT, run_name="__main__")
        return "".join(capfd.readouterr())

    return run_script


@pytest.fixture
def predict(run_script, weights, tmp_path):
    def predict(*args, weights=weights, output=("--output", tmp_path / "out"), threshold=0):
        fixed = ["--config-file", CONFIG, *output]
        if {"--output", "--masks", "--coco"} & set(output):
            fixed += ["--threshold", threshold]
        return run_script(*fixed, *args, "--opts", *TINY, "MODEL.WEIGHTS", weights)

    return predict


@pytest.fixture
def check_refused(predict):
    def check_refused(message, *args, **kwargs):
        with pytest.raises(SystemExit) as info:
            predict(*args, **kwargs)
        assert str(info.value).startswith("predict.py: ")
        assert message in str(info.value)

    return check_refused
