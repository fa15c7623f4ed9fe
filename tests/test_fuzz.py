"""Files that were changed anywhere: every reader refuses them in words, and does nothing else.

Python tells a hook of each file that is opened and each process that is started. What libraries do
in C++ it does not see.
"""

import json
import os
import pickle
import sys
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

import label_formats as formats
from scnet.checkpoint.reading import read_pickle, read_safetensors, read_torch
from scnet.config import read_cfg
from scnet.data import read_image
from scnet.data.coco_file import read_coco_file
from scnet.data.importing.labels import Request
from scnet.data.importing.voc import read_boxes
from scnet.data.importing.write_coco import READERS as LABELS
from scnet.data.importing.yolo import read_data_yaml, read_objects
from scnet.data.semantic_targets import from_panoptic
from scnet.export import load_exported
from scnet.export.files import with_metadata

# More for a longer search: SCNET_EXAMPLES=5000 pytest tests/test_fuzz.py
EXAMPLES = int(os.environ.get("SCNET_EXAMPLES", 100))
search = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn"),
    *("os.spawn", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink"),
    *("os.truncate", "os.chmod", "os.putenv", "shutil.rmtree", "socket.connect"),
    "pickle.find_class",
)
seen = None


def hook(event, arguments):
    if seen is None:
        return
    writes = event == "open" and arguments[2] & WRITING and "__pycache__" not in str(arguments[0])
    if writes or event in FORBIDDEN:
        seen.append((event, arguments))


sys.addaudithook(hook)  # cannot be taken away again


@contextmanager
def nothing_else():
    """Within it, OSError and ValueError may be raised, and nothing may be written or started."""
    global seen
    seen = []
    try:
        yield
    except (OSError, ValueError):
        pass
    finally:
        found, seen = seen, None
    assert not found


def as_pth(path):
    torch.save({"model": {"w": torch.rand(3), "n": torch.tensor(1)}, "iteration": 7}, path)


def as_old_pth(path):
    torch.save({"model": {"w": torch.rand(3)}}, path, _use_new_zipfile_serialization=False)


def as_pkl(path):
    content = {"model": {"w": np.ones(3, np.float32), "n": np.int64(1)}, "__author__": "them"}
    path.write_bytes(pickle.dumps(content, 4))


def as_pkl_of_python_2(path):
    path.write_bytes(pickle.dumps({"blobs": {"w": np.ones((2, 3), np.float32)}}, 2))


def as_safetensors(path):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    safetensors.save_file({"w": torch.rand(3), "n": torch.tensor(1)}, path)


def read_any_safetensors(path):
    pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    read_safetensors(path)


def as_torchscript(path):
    torch.jit.trace(torch.nn.ReLU(), torch.rand(3)).save(
        str(path), _extra_files={"metadata.json": "{}"}
    )


def as_onnx(path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    shapes = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3]) for name in "xy"
    ]
    node = onnx.helper.make_node("Relu", "x", "y")
    graph = onnx.helper.make_graph([node], "g", shapes[:1], shapes[1:])
    onnx.save(onnx.helper.make_model(graph, ir_version=8), path)
    path.write_bytes(with_metadata(path.read_bytes(), {"outputs": ["y"]}))


def as_json(path):
    categories = [{"id": 1, "name": "a"}]
    images = [{"id": 1, "file_name": "a.png", "height": 3, "width": 4}]
    path.write_text(json.dumps({"categories": categories, "images": images, "annotations": []}))


def as_yaml(path):
    path.write_text("VERSION: 2\nMODEL:\n  MASK_ON: true\n  WEIGHTS: 'a.pth'\nSEED: 7\n")


def as_image(path):
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def read_panoptic(path):
    from_panoptic(path, [{"id": 1, "category_id": 0}], (5, 7), 255)


def as_voc_boxes(path):
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
    path.write_text(f"<annotation><object><name>a</name>{box}</object></annotation>")


def as_yolo_yaml(path):
    path.write_text("path: ''\ntrain: ../images\nval: [a, b]\nnames:\n  0: cat\n  1: dog\n")


def as_yolo_lines(path):
    path.write_text("".join(map(formats.yolo_line, formats.OBJECTS["a.png"])))


def as_labels(write):
    """Writes annotations of a tool, beside their images."""
    return lambda path: write(path.parent).rename(path)


def as_one_labelme(path):
    formats.labelme_masks(path.parent)
    for name in ("b.json", "c.json"):
        (path.parent / name).unlink()


def as_cvat(path):
    (formats.cvat_masks(path.parent) / "annotations.xml").rename(path)


def read_labels(kind):
    """Reads annotations of a tool, with all their masks."""

    def read(path):
        source = os.path.dirname(path) if kind == "labelme" else path
        list(LABELS[kind](Request(source, os.path.dirname(path), None, Counter())).images)

    return read


READERS = {
    "model.pth": (as_pth, read_torch),
    "old.pth": (as_old_pth, read_torch),
    "zoo.pkl": (as_pkl, read_pickle),
    "zoo2.pkl": (as_pkl_of_python_2, read_pickle),
    "model.safetensors": (as_safetensors, read_any_safetensors),
    "model.ts": (as_torchscript, load_exported),
    "model.onnx": (as_onnx, load_exported),
    "set.json": (as_json, read_coco_file),
    "config.yaml": (as_yaml, read_cfg),
    "a.jpg": (as_image, read_image),
    "a.png": (as_image, read_image),
    "a.tif": (as_image, read_image),
    "a.webp": (as_image, read_image),
    "a.gif": (as_image, read_image),
    "a.jp2": (as_image, read_image),
    **({"a.avif": (as_image, read_image)} if features.check("avif") else {}),
    "panoptic.png": (as_image, read_panoptic),
    "cvat.xml": (as_cvat, read_labels("cvat")),
    "a.json": (as_one_labelme, read_labels("labelme")),
    "tasks.json": (as_labels(formats.label_studio_brush), read_labels("labelstudio")),
    "regions.json": (as_labels(formats.via), read_labels("via")),
    "boxes.xml": (as_voc_boxes, lambda path: read_boxes(path, Counter())),
    "data.yaml": (as_yolo_yaml, read_data_yaml),
    "a.txt": (as_yolo_lines, lambda path: read_objects(path, (40, 60), {0: "cat", 1: "dog"})),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@search
@given(
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.binary(max_size=4)), max_size=4),
    end=st.sampled_from([1.0, 1.0, 1.0, 0.9, 0.5, 0.0]),
)
def test_changed_files(tmp_path, name, changes, end):
    write, read = READERS[name]
    path = tmp_path / name
    if not path.exists():
        write(path)
        (tmp_path / "whole").write_bytes(path.read_bytes())
    content = bytearray((tmp_path / "whole").read_bytes())
    for place, new in changes:
        start = int(place * len(content))
        content[start : start + len(new)] = new
    path.write_bytes(content[: int(end * len(content))])
    with nothing_else():
        read(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@search
@given(content=st.binary(max_size=300))
def test_files_of_anything(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with nothing_else():
        READERS[name][1](str(tmp_path / name))


def test_the_hook_sees_what_a_file_does(tmp_path):
    with pytest.raises(AssertionError), nothing_else():
        os.mkdir(tmp_path / "made")
    with pytest.raises(AssertionError), nothing_else():
        (tmp_path / "written").write_text("")
