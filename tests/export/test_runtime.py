"""Files against the model that they were made of."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from helpers import detect
from scnet.export import compare, write_onnx, write_torchscript
from scnet.export.runtime import load_exported

SIZES = ((64, 80), (97, 70), (40, 150), (200, 256), (1, 1))
METADATA = {"class_names": ["a", "b", "ç", "d", "e"], "input_format": "RGB"}
WRITERS = {"ts": write_torchscript, "onnx": write_onnx}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, ending", [("scnet", "ts"), ("cascade", "ts"), ("scnet", "onnx"), ("htc", "onnx")]
)
def test_files_do_what_the_model_does(make_detector, make_image, tmp_path, name, ending):
    pytest.importorskip("onnxruntime")
    model = make_detector(name)
    # Between the scores, so that the number of detections differs from image to image.
    for predictor in model.roi_heads.box_predictor:
        predictor.test_score_thresh = 0.4
    path = str(tmp_path / f"model.{ending}")
    WRITERS[ending](model, path, METADATA)
    exported = load_exported(path)
    assert METADATA.items() <= exported.metadata.items()
    images = [make_image(*size) for size in SIZES]
    counts = set()
    for image, found in zip(images, exported(images)):
        (expected,) = detect(model, [{"image": image}])
        deviation = compare(expected, found)
        assert deviation.unmatched == 0
        assert deviation.box < 1e-3 and deviation.score < 1e-4 and deviation.mask < 0.005
        counts.add(len(found))
    assert 0 in counts and len(counts) > 1, "the images do not try what they should"


@pytest.mark.slow
def test_the_documentation_runs_without_this_package(
    repository, make_detector, make_image, tmp_path
):
    """The programs of docs/export.md, in a process that can import neither package."""
    pytest.importorskip("onnxruntime")
    programs = dict(
        re.findall(
            r"<!-- program: (\w+) -->\n+```python\n(.*?)```",
            (repository / "docs/export.md").read_text(),
            re.DOTALL,
        )
    )
    model, image = make_detector(), make_image(90, 120)
    bgr = image.numpy().astype(np.uint8)[::-1].transpose(1, 2, 0)
    cv2.imwrite(str(tmp_path / "photo.png"), bgr)
    (expected,) = detect(model, [{"image": image}])
    script = "import sys\nfor name in ('detectron2', 'scnet'): sys.modules[name] = None\n"
    for ending in WRITERS:
        WRITERS[ending](model, str(tmp_path / f"model.{ending}"), METADATA)
        script += programs[ending].replace("photo.jpg", "photo.png")
        script += f"\nimport numpy\nnumpy.savez('{ending}.npz', "
        script += "boxes=boxes, scores=scores, labels=labels, masks=masks)\n"
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=tmp_path, text=True, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    names = [METADATA["class_names"][k] for k in expected.pred_classes]
    assert re.findall(r"^(\S+) 0\.\d", result.stdout, re.MULTILINE) == 2 * names
    for ending in WRITERS:
        with np.load(tmp_path / f"{ending}.npz") as arrays:
            out = {name: torch.from_numpy(arrays[name]) for name in arrays}
        found = Instances((90, 120), pred_boxes=Boxes(out["boxes"]), scores=out["scores"])
        found.pred_classes, found.pred_masks = out["labels"], out["masks"]
        deviation = compare(expected, found)
        assert deviation.unmatched == 0 and deviation.detections == len(expected) > 0
        assert deviation.box < 1e-3 and deviation.score < 1e-4 and deviation.mask < 0.005


@pytest.mark.parametrize("ending", WRITERS)
def test_what_cannot_be_loaded_is_named(tmp_path, ending):
    pytest.importorskip("onnxruntime")
    path = tmp_path / f"model.{ending}"
    with pytest.raises(FileNotFoundError, match=f"model.{ending}' does not exist"):
        load_exported(path)
    path.write_text("not a model")
    with pytest.raises(ValueError, match=f"model.{ending}' cannot be read as"):
        load_exported(path)
    with pytest.raises(ValueError, match="model.pth' is no exported model"):
        load_exported(tmp_path / "model.pth")


def test_a_file_of_something_else_is_refused(tmp_path):
    path = str(tmp_path / "other.ts")
    torch.jit.trace(torch.nn.ReLU(), torch.rand(3)).save(path)
    with pytest.raises(ValueError, match="has no metadata"):
        load_exported(path)
