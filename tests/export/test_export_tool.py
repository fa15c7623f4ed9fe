import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import TINY, room_for
from scnet import get_config_file
from scnet.export import WRITERS
from scnet.export.runtime import load_exported
from scnet_tools import export


@pytest.fixture
def weights(make_detector, tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": make_detector().state_dict()}, path)
    return str(path)


@pytest.fixture
def run_tool(monkeypatch):
    def run_tool(*args, weights="nowhere.pth", threshold=0.05, opts=()):
        fixed = ["--config-file", get_config_file("quickstart.yaml"), "--size", "60", "90"]
        fixed += ["--weights", weights]
        last = ["--opts", *TINY, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", str(threshold), *opts]
        monkeypatch.setattr(sys, "argv", ["export.py", *fixed, *map(str, args), *last])
        export.main()

    return run_tool


@pytest.mark.slow
def test_it_writes_a_verified_file(run_tool, weights, tmp_path, capsys):
    path = tmp_path / "model.ts"
    run_tool("--format", "torchscript", "--output", path, weights=weights)
    out = capsys.readouterr().out
    assert "0 of 5 detections differ" in out and f"load_exported('{path}')" in out
    assert f"{path}: {path.stat().st_size / 1e6:.1f} MB" in out
    assert sorted(os.listdir(tmp_path)) == ["model.pth", "model.ts"]
    metadata = load_exported(path).metadata
    assert len(metadata["class_names"]) == 5 and metadata["input_format"] == "RGB"
    assert (metadata["min_size_test"], metadata["max_size_test"]) == (128, 192)

    with pytest.raises(SystemExit, match="add --overwrite"):
        run_tool("--format", "torchscript", "--output", path, weights=weights)
    path.write_text("mine")
    run_tool("--format", "torchscript", "--output", path, "--overwrite", weights=weights)
    assert load_exported(path).metadata == metadata


@pytest.mark.slow
def test_a_file_that_does_something_else_is_not_delivered(run_tool, weights, tmp_path, monkeypatch):
    original = WRITERS["torchscript"]

    def write_another(model, path, metadata):
        biases = [p.bbox_pred.bias for p in model.roi_heads.box_predictor]
        for bias in biases:
            bias.data += 0.5
        original(model, path, metadata)
        for bias in biases:
            bias.data -= 0.5

    monkeypatch.setitem(WRITERS, "torchscript", write_another)
    (tmp_path / "model.ts").write_text("mine")
    with pytest.raises(SystemExit, match="does not do what the model does"):
        run_tool(
            *("--format", "torchscript", "--output", tmp_path / "model.ts", "--overwrite"),
            weights=weights,
        )
    assert (tmp_path / "model.ts").read_text() == "mine"


@pytest.mark.slow
def test_a_file_that_cannot_be_verified_is_not_delivered(run_tool, weights, tmp_path, capsys):
    """The model finds nothing, as where its threshold is too high; then in an image it does."""
    path, image = tmp_path / "model.ts", tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)).save(image)
    opts = ["--format", "torchscript", "--output", path]
    with pytest.raises(SystemExit, match="could not be verified: the model finds nothing.*--image"):
        run_tool(*opts, weights=weights, threshold=1.0)
    with pytest.raises(SystemExit, match="finds nothing in the image of 60 x 90"):
        run_tool(*opts, "--image", image, weights=weights, threshold=1.0)
    assert not path.exists()
    run_tool(*opts, "--image", image, weights=weights)
    assert "0 of 5 detections differ" in capsys.readouterr().out and path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("ending, name", [("ts", "torchscript"), ("onnx", "onnx")])
def test_a_full_disk(run_tool, weights, tmp_path, ending, name):
    """PyTorch's own writer of files ends the process there, and leaves a part of the file."""
    if name == "onnx":
        pytest.importorskip("onnx")
    path = tmp_path / f"model.unverified.{ending}"
    with room_for(1000), pytest.raises(SystemExit) as info:
        run_tool("--format", name, "--output", tmp_path / f"model.{ending}", weights=weights)
    assert info.value.code == f"export.py: Could not write '{path}': File too large."
    assert os.listdir(tmp_path) == ["model.pth"]


@pytest.mark.parametrize(
    "output, args, message",
    [
        ("model.ts", [], "'nowhere.pth' do not exist"),
        ("model.onnx", [], "must end in .ts"),
        ("nowhere/model.ts", [], "folder of '.*nowhere/model.ts'"),
        ("model.ts", ["--size", "0", "5"], "--size 0 5"),
        ("model.ts", ["--image", "nowhere.png"], "Image 'nowhere.png' does not exist"),
    ],
)
def test_mistakes_are_named(run_tool, tmp_path, output, args, message):
    with pytest.raises(SystemExit, match=f"export.py: .*{message}"):
        run_tool("--format", "torchscript", "--output", tmp_path / output, *args)
    assert not list(tmp_path.iterdir())


def test_another_device_than_the_cpu_is_refused(run_tool, tmp_path):
    args = ("--format", "onnx", "--output", tmp_path / "model.onnx")
    with pytest.raises(SystemExit, match="exported on the CPU, so MODEL.DEVICE cannot be cuda"):
        run_tool(*args, opts=["MODEL.DEVICE", "cuda"])


def test_augmentation_at_test_time_is_refused(run_tool, tmp_path):
    """Rather than left out without a word."""
    args = ("--format", "onnx", "--output", tmp_path / "model.onnx")
    with pytest.raises(SystemExit, match="TEST.AUG.ENABLED is True, but"):
        run_tool(*args, opts=["TEST.AUG.ENABLED", "True"])
