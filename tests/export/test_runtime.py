"""Files against the model that they were made of."""

import json
import random
import re
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from helpers import detect
from narrow_backbones import BACKBONES, backbone_opts
from scnet.export import compare, write_onnx, write_torchscript
from scnet.export.files import OPSET, with_metadata
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
def test_swin_as_onnx(make_detector, make_image, tmp_path):
    """Its windows are shifted and masked; images are padded to the size that it was traced at."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("timm", reason="needs timm, which is not installed")
    keys = {**BACKBONES["swin"], "SWIN.DEPTHS": (2, 1, 1, 1)}
    model = make_detector(opts=backbone_opts(keys, BACKBONE__SQUARE_PAD=256))
    path = str(tmp_path / "model.onnx")
    write_onnx(model, path, METADATA)
    images = [make_image(*size) for size in SIZES[:2]]
    for image, found in zip(images, load_exported(path)(images)):
        (expected,) = detect(model, [{"image": image}])
        deviation = compare(expected, found)
        assert deviation.unmatched == 0 and len(found) == len(expected) > 0
        assert deviation.box < 1e-3 and deviation.score < 1e-4 and deviation.mask < 0.005


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
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"model.{ending}' is empty. Copy it again"):
        load_exported(path)
    with pytest.raises(ValueError, match="model.pth' is no exported model"):
        load_exported(tmp_path / "model.pth")


def test_a_file_of_something_else_is_refused(tmp_path):
    path = str(tmp_path / "other.ts")
    torch.jit.trace(torch.nn.ReLU(), torch.rand(3)).save(path)
    with pytest.raises(ValueError, match="has no metadata"):
        load_exported(path, trusted=True)


IMAGE = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))


class Scale(torch.nn.Module):
    """A "model" of few bytes, whose one output follows from all of its weights."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.rand(3, 5, 7, generator=generator))

    def forward(self, image):
        return (image * self.weight,)


def write_small(path):
    """Write it with the metadata of an exported model."""
    metadata = {"class_names": ["metadata", "ç"], "input_format": "RGB", "outputs": ["scores"]}
    if path.suffix == ".ts":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(Scale(), IMAGE)
            traced.save(str(path), _extra_files={"metadata.json": json.dumps(metadata)})
    else:
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        weight = onnx.numpy_helper.from_array(Scale().weight.detach().numpy(), "weight")
        shapes = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3, 5, 7])
            for name in ("image", "scores")
        ]
        node = onnx.helper.make_node("Mul", ["image", "weight"], ["scores"])
        graph = onnx.helper.make_graph([node], "g", shapes[:1], shapes[1:], [weight])
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8
        )
        onnx.save(model, path)
        path.write_bytes(with_metadata(path.read_bytes(), metadata))
    return metadata


def same(metadata, one, two):
    """Whether two files do the same and say the same."""
    outputs = [x.run(IMAGE, ["scores"])[0] for x in (one, two)]
    return torch.equal(*outputs) and one.metadata == two.metadata == metadata


@pytest.mark.parametrize("ending", WRITERS)
def test_damage_is_noticed_or_harmless(tmp_path, ending):
    """With a flipped bit anywhere, or cut anywhere: an error, or the very same."""
    path, damaged = tmp_path / f"model.{ending}", tmp_path / f"damaged.{ending}"
    metadata = write_small(path)
    whole, expected = path.read_bytes(), load_exported(path, trusted=True)
    assert same(metadata, expected, expected)
    rng, refused = random.Random(0), 0
    contents = [whole[:n] for n in (0, 1, 40, len(whole) // 2, len(whole) - 1)]
    for _ in range(150):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        contents.append(bytes(flipped))
    for content in contents:
        damaged.write_bytes(content)
        try:
            found = load_exported(damaged, trusted=True)
        except ValueError as error:
            assert f"damaged.{ending}' " in str(error)
            refused += 1
        else:
            assert same(metadata, found, expected)
    assert refused > (140 if ending == "onnx" else 40)


def test_an_onnx_file_that_was_changed_on_purpose(tmp_path, caplog):
    onnx, path = pytest.importorskip("onnx"), tmp_path / "model.onnx"
    metadata = write_small(path)
    model = onnx.load(path)
    assert [x.key for x in model.metadata_props] == ["metadata"]
    model.graph.name = "mine"
    onnx.save(model, path)
    with pytest.raises(ValueError, match="checksum is wrong.* on purpose, remove 'graph_b"):
        load_exported(path)
    onnx.helper.set_model_props(model, {"metadata": json.dumps(metadata)})
    onnx.save(model, path)
    assert load_exported(path).metadata == metadata
    assert "model.onnx' has no checksum" in caplog.text


def test_onnx_runs_with_cuda_or_the_cpu_and_never_unasked_with_tensorrt(
    tmp_path, monkeypatch, caplog
):
    onnxruntime = pytest.importorskip("onnxruntime")
    write_small(tmp_path / "model.onnx")
    asked, session = [], onnxruntime.InferenceSession

    def note(path, providers):
        asked.append(providers)
        return session(path, providers=["CPUExecutionProvider"])

    names = [f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "Azure", "CPU")]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    with caplog.at_level("INFO", logger="scnet"):
        load_exported(tmp_path / "model.onnx")
    assert asked == [["CUDAExecutionProvider", "CPUExecutionProvider"]]
    assert "with CPUExecutionProvider." in caplog.text  # what is in force, not what was asked for
