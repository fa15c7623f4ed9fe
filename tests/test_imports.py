"""What is imported when: nothing heavy for the help of a tool, no training engine to predict."""

import argparse
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from detectron2.engine import default_argument_parser

from helpers import REPOSITORY
from scnet_tools.train_net import argument_parser

TOOLS = [
    path
    for path in (REPOSITORY / "train_net.py", *(REPOSITORY / "projects/SCNet/tools").glob("*.py"))
    if "__main__" in path.read_text()
]
HELP = """
import json, runpy, sys
script = sys.argv[1]
sys.argv = [script, "--help"]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    print(json.dumps({"status": end.code, "modules": list(sys.modules)}))
"""
PREDICT = """
import json, sys
sys.modules["resource"] = sys.modules["matplotlib"] = None  # their import fails
import scnet
weights, image, json_file, images = sys.argv[1:]
instances = scnet.Predictor(weights)(image)
scnet.register_coco_json("mine", json_file, images)
print(json.dumps({"found": len(instances), "modules": list(sys.modules)}))
"""


def last_line(code, *args):
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, args)]
    result = subprocess.run(command, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_help_waits_for_nothing_heavy(tool):
    found = last_line(HELP, tool)
    assert found["status"] in (0, None)
    heavy = {"torch", "numpy", "detectron2", "cv2", "matplotlib", "scnet"}
    assert not heavy & set(found["modules"])


@pytest.mark.slow
def test_predicting_needs_neither_engine_nor_matplotlib_nor_resource(
    tiny_cfg, make_model, coco_set, tmp_path
):
    """The module `resource` does not exist on Windows."""
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    torch.save({"model": make_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    files = [tmp_path / "model.pth", tmp_path / "a.png", coco_set.json_file, coco_set.images]
    found = last_line(PREDICT, *files)
    assert found["found"] == 5
    assert not [m for m in found["modules"] if m.startswith(("scnet.engine", "detectron2.engine"))]


def arguments(parser):
    """What a parser takes, by destination; the texts of its help left out."""
    return {
        action.dest: {k: v for k, v in vars(action).items() if k not in ("help", "container")}
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    }


def test_the_arguments_of_training_are_those_of_detectron2_and_our_own():
    ours, theirs = arguments(argument_parser()), arguments(default_argument_parser())
    own = {"train_json", "train_images", "val_json", "val_images", "val_fraction"}
    own |= {"folds", "epochs", "batch", "lr"}
    theirs["config_file"].update(option_strings=["--config", "--config-file"], metavar="CONFIG")
    assert {name: ours[name] for name in ours if name not in own} == theirs
    assert ours.keys() - theirs.keys() == own


def test_without_detectron2_it_says_how_to_install_it():
    """In a Python that has no packages at all (-S)."""
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'projects/SCNet')!r}); import scnet"
    result = subprocess.run([sys.executable, "-S", "-c", code], text=True, capture_output=True)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: scnet needs detectron2, which is not in this")
    assert "make env" in last and "pip install" in last and "restart the kernel" in last


@pytest.mark.slow
def test_without_opencv_it_says_how_to_install_it(tmp_path):
    """Where there is none, and where it lacks a library of the system, as on a server."""
    missing = "ModuleNotFoundError", "No module named 'cv2'"
    broken = "ImportError", "libGL.so.1: cannot open shared object file"
    for kind, reason in (missing, broken):
        (tmp_path / "cv2.py").write_text(f"raise {kind}({reason!r})")
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import scnet"
        result = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
        last = result.stderr.splitlines()[-1]
        assert last.startswith("ImportError: scnet needs OpenCV") and reason in last
        assert "pip uninstall opencv-python opencv-python-headless" in last
        assert "pip install opencv-python-headless" in last


@pytest.mark.slow
def test_another_missing_package_is_named_as_it_is():
    code = "import sys; sys.modules['fvcore'] = None; import scnet"
    result = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert "fvcore" in result.stderr.splitlines()[-1] and "scnet needs" not in result.stderr
