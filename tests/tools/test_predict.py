"""predict.py with images, and data sets of them."""

import json
import sys
from math import ceil

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import ROIMasks

from helpers import NAMES
from scnet import Predictor, register_coco_json
from scnet.inference.pytorch_backend import PyTorchBackend


def test_a_folder_gives_a_picture_per_image(predict, images, tmp_path):
    output = predict("--input", images)
    assert "2/2" in output  # the progress bar
    assert "Device: cpu\n" in output
    for name, image in {"a.png": "a.png", "sub/b.png": "sub/b.jpg"}.items():
        picture, original = (
            cv2.imread(str(tmp_path / "out" / name)),
            cv2.imread(str(images / image)),
        )
        scale = ceil(512 / max(original.shape))  # small images are enlarged
        plain = original.repeat(scale, 0).repeat(scale, 1)
        assert picture.shape == plain.shape
        assert (np.abs(picture.astype(int) - plain) > 100).any(), "nothing was drawn"


@pytest.mark.slow
def test_a_data_set_of_what_is_drawn(predict, images, tmp_path):
    """With a score above --threshold, and all pixels of the masks in --json."""
    path, results = tmp_path / "coco.json", tmp_path / "results.json"
    predict("--input", images, output=("--json", results))
    found = json.loads(results.read_text())
    middle = sorted(x["score"] for x in found)[len(found) // 2]
    output = ("--coco", path, "--json", tmp_path / "all.json")
    predict("--input", images, threshold=middle, output=output)
    content = json.loads(path.read_text())
    assert json.loads((tmp_path / "all.json").read_text()) == found
    assert [x["file_name"] for x in content["images"]] == ["a.png", "sub/b.jpg"]
    keys = ("image_id", "category_id", "score", "segmentation")
    expected = [x for x in found if x["score"] > middle]
    assert 0 < len(expected) < len(found)
    written = [{k: x[k] for k in keys} for x in content["annotations"]]
    assert written == [{k: x[k] for k in keys} for x in expected if x["segmentation"]]

    name = found[0]["category_name"]
    predict("--input", images, "--class-threshold", f"{name}=1", "--overwrite", output=output)
    of_others = [x for x in found if x["category_name"] != name]
    assert [x["score"] for x in json.loads(path.read_text())["annotations"]] == [
        x["score"] for x in of_others
    ]
    assert json.loads((tmp_path / "all.json").read_text()) == found

    # A class may have a lower one than --threshold: the model is asked for as much.
    lower = ["--class-threshold", f"{name}=0", "--overwrite"]
    predict("--input", images, *lower, threshold=1, output=("--coco", path))
    scores = [x["score"] for x in found if x["category_name"] == name]
    assert [x["score"] for x in json.loads(path.read_text())["annotations"]] == scores


def test_tiles_are_predicted(predict, images, tmp_path, monkeypatch):
    seen = []
    call = PyTorchBackend.__call__

    def spy(self, tiles):
        seen.extend(tile.shape[:2] for tile in tiles)
        return call(self, tiles)

    monkeypatch.setattr(PyTorchBackend, "__call__", spy)
    path = tmp_path / "x.json"
    tiles = ("--tile", 48, "--overlap", 0.5)
    predict("--input", images / "a.png", *tiles, output=("--json", path))
    assert seen == [(48, 48)] * 6  # of 64 x 80 pixels
    found = json.loads(path.read_text())
    assert found and {tuple(x["segmentation"]["size"]) for x in found} == {(64, 80)}


def test_files_are_replaced_only_when_asked(predict, check_refused, images, tmp_path):
    outputs = {
        "--output": ("out", "out/a.png"),
        "--masks": ("masks", "masks/a.png"),
        "--json": ("results.json", "results.json"),
    }
    for option, (place, file_name) in outputs.items():
        (tmp_path / file_name).parent.mkdir(exist_ok=True)
        (tmp_path / file_name).write_text("mine")
        args = ["--input", images / "a.png"]
        check_refused("add --overwrite", *args, output=(option, tmp_path / place))
        assert (tmp_path / file_name).read_text() == "mine"
    predict(*args, "--overwrite")
    assert cv2.imread(str(tmp_path / "out/a.png")) is not None


@pytest.mark.parametrize(
    "args, message",
    [
        (["--input", "nowhere"], "'nowhere' is no image, folder or registered data set"),
        (["--input", "projects/SCNet/configs"], "holds no images"),
        (["--input", "x", "--classes", "disk", "cat"], "does not know 'cat'. It knows: disk,"),
        (["--input", "x", "--limit", 0], "--limit must be 1 or more"),
        (["--input", "x", "--batch-size", 0], "batch size must be 1 or more"),
        (["--input", "x", "--annotations", "a.json"], "--annotations is for --json and --coco"),
        (["--input", "x", "--class-threshold", "disk"], "takes NAME=SCORE, such as cat=0.3, not"),
        (["--input", "x", "--class-threshold", "=1"], "takes NAME=SCORE, such as cat=0.3, not"),
        (["--input", "x", "--class-threshold", "cat=1"], "does not know 'cat'"),
        (["--input", "x", "--overlap", 0.1], "--overlap is for --tile"),
        (["--input", "x", "--polygons", 1], "--polygons is for --coco"),
        (["--input", "x", "--json-threshold", 0.1], "--json-threshold is for --json"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(check_refused, args, message):
    check_refused(message, *args)


def test_images_that_cannot_be_used_are_named(check_refused, images):
    (images / "broken.jpg").write_text("not an image")
    check_refused("broken.jpg", "--input", images / "broken.jpg")
    cv2.imwrite(str(images / "line.png"), np.zeros((1, 5000, 3), np.uint8))
    message = "line.png' of height and width (1, 5000) cannot be used"
    check_refused(message, "--input", images / "line.png")
    (images / "a.jpg").write_bytes((images / "sub/b.jpg").read_bytes())
    check_refused("would both be 'a.png'", "--input", images / "a.png", images / "a.jpg")


def test_results_keep_all_and_pictures_what_is_sure(predict, weights, images, tiny_cfg, tmp_path):
    """AP needs all detections. --threshold is for pictures and label maps."""
    everything = Predictor(str(weights), tiny_cfg)(str(images / "a.png"))
    middle = everything.scores.median().item()
    path, args = tmp_path / "x.json", ["--input", images / "a.png", "--overwrite"]

    def objects(*more, threshold=1.0):
        places = ("--json", path, "--masks", tmp_path / "masks")
        predict(*args, *more, output=places, threshold=threshold)
        labels = cv2.imread(str(tmp_path / "masks/a.png"), cv2.IMREAD_UNCHANGED)
        return len(json.loads(path.read_text())), labels.max()

    assert len(everything) > 2
    assert objects() == (len(everything), 0)
    above = int((everything.scores > middle).sum())
    written, highest = objects("--json-threshold", middle, threshold=0)
    assert written == above and highest > above


def test_bitmaps_are_made_one_by_one(predict, images, monkeypatch, tmp_path):
    """Whatever is written: those of all objects may not fit into the memory."""
    counts, to_bitmasks = [], ROIMasks.to_bitmasks
    monkeypatch.setattr(
        ROIMasks, "to_bitmasks", lambda x, *args: counts.append(len(x)) or to_bitmasks(x, *args)
    )
    output = ("--json", tmp_path / "x.json", "--output", tmp_path / "out")
    predict("--input", images, output=(*output, "--masks", tmp_path / "masks"))
    assert len(counts) == len(json.loads((tmp_path / "x.json").read_text())) > 2
    assert set(counts) == {1}


def test_a_threshold_without_pictures_is_refused(run_script, weights, images):
    arguments = ["--weights", weights, "--input", images, "--json", "x.json", "--threshold", 0.7]
    with pytest.raises(SystemExit, match="--json has --json-threshold"):
        run_script(*arguments)


@pytest.mark.parametrize("ending", [".onnx", ".ts"])
def test_options_that_an_exported_file_has_fixed_are_named(run_script, images, tmp_path, ending):
    """Whether a config lies beside it or not."""
    weights = tmp_path / f"model{ending}"
    opts = ["TEST.AUG.ENABLED", True, "INPUT.MIN_SIZE_TEST", 64]
    arguments = ["--weights", weights, "--input", images, "--output", tmp_path, "--opts", *opts]
    with pytest.raises(SystemExit, match="changed: TEST.AUG.ENABLED, INPUT.MIN_SIZE_TEST. Export"):
        run_script(*arguments)


def test_onnx_without_onnx_runtime(run_script, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    weights = tmp_path / "model.onnx"
    weights.write_bytes(b"onnx")
    arguments = ["--weights", weights, "--input", images, "--output", tmp_path / "out"]
    with pytest.raises(SystemExit, match="^predict.py: .*pip install.*onnxruntime"):
        run_script(*arguments)


@pytest.mark.parametrize(
    "opts, message", [([], "is a program"), (["MODEL.TRUST_WEIGHTS", True], "has no metadata")]
)
def test_torchscript_from_elsewhere_needs_trust(run_script, images, tmp_path, opts, message):
    weights = tmp_path / "model.ts"
    torch.jit.trace(torch.nn.ReLU(), torch.rand(3)).save(str(weights))
    arguments = ["--weights", weights, "--input", images, "--output", tmp_path / "out"]
    with pytest.raises(SystemExit, match=f"model.ts' {message}"):
        run_script(*arguments, "--opts", *opts)


def test_the_rest_of_a_folder_is_done(predict, check_refused, images, tmp_path):
    """What cannot be read or predicted is named at the end; --strict stops at the first."""
    (images / "cut.jpg").write_bytes((images / "sub/b.jpg").read_bytes()[:300])
    cv2.imwrite(str(images / "line.png"), np.zeros((1, 5000, 3), np.uint8))
    places, path = (
        ("--json", tmp_path / "x.json", "--output", tmp_path / "out"),
        tmp_path / "x.json",
    )
    with pytest.raises(SystemExit) as info:
        predict("--input", images, "--batch-size", 4, output=places)
    assert "Cannot read image" in info.value.code and "cut.jpg'" in info.value.code
    assert "line.png' of height and width (1, 5000) cannot be used" in info.value.code
    done = {str(images / name) for name in ("a.png", "sub/b.jpg")}
    assert {x["file_name"] for x in json.loads(path.read_text())} == done
    assert sorted(x.name for x in (tmp_path / "out").rglob("*.png")) == ["a.png", "b.png"]
    path.unlink()
    check_refused("cut.jpg", "--input", images, "--strict", "--overwrite", output=places)
    assert not path.exists()


def test_one_file_name_in_two_folders_of_a_data_set(predict, coco_set, tmp_path):
    """The pictures keep the folders. Without pictures, files of one name are no problem."""
    (coco_set.images / "sub/a.png").write_bytes((coco_set.images / "a.png").read_bytes())
    image = coco_set.content["images"][0]
    coco_set.content["images"].append({**image, "id": 9, "file_name": "sub/a.png"})
    coco_set.content["categories"] = [{"id": k, "name": x} for k, x in enumerate(NAMES, 1)]
    for x in coco_set.content["annotations"]:
        x["category_id"] = 1
    coco_set.write()
    name = coco_set.json_file.parent.name
    register_coco_json(name, str(coco_set.json_file), str(coco_set.images))
    places = ("--output", tmp_path / "out", "--json", tmp_path / "x.json")
    predict("--input", name, output=places)
    found = {x["image_id"]: x["file_name"] for x in json.loads((tmp_path / "x.json").read_text())}
    assert found[9].endswith("sub/a.png") and not found[1].endswith("sub/a.png")
    assert {"a.png", "sub/a.png"} <= {
        x.relative_to(tmp_path / "out").as_posix() for x in (tmp_path / "out").rglob("*.png")
    }
    both = [coco_set.images / "a.png", coco_set.images / "sub/a.png"]
    predict("--input", *both, output=("--json", tmp_path / "y.json"))
    assert {x["image_id"] for x in json.loads((tmp_path / "y.json").read_text())} == {1, 2}


def test_the_smallest_image_is_predicted(predict, images, tmp_path):
    cv2.imwrite(str(images / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    predict("--input", images / "dot.png")
    assert cv2.imread(str(tmp_path / "out/dot.png")) is not None


def test_nothing_to_predict_with_and_nothing_to_write(check_refused, images):
    check_refused("names none: give --weights", "--input", images, weights="")
    check_refused(
        "Give --output, --json, --coco, --geojson or --masks", "--input", images, output=()
    )


def test_results_of_a_data_set_have_its_ids(predict, coco_set, weights, tmp_path):
    """For the input that is the data set, and for its folder with --annotations."""
    coco_set.content["categories"] = [
        {"id": 10 * k, "name": name} for k, name in enumerate(NAMES, 1)
    ]
    for x in coco_set.content["annotations"]:
        x["category_id"] = 10
    for k, x in enumerate(coco_set.content["images"]):
        x["id"] = 100 + k
    coco_set.write()
    name = coco_set.json_file.parent.name
    register_coco_json(name, str(coco_set.json_file), str(coco_set.images))
    inputs = [[name], [coco_set.images, "--annotations", coco_set.json_file]]
    for k, args in enumerate(inputs):
        path = tmp_path / f"{k}.json"
        predict("--input", *args, output=("--json", path))
        results = json.loads(path.read_text())
        assert {x["image_id"] for x in results} == {100, 101, 102}
        assert all(x["category_id"] == 10 * (NAMES.index(x["category_name"]) + 1) for x in results)


def test_weights_with_their_config_beside_them(run_script, weights, images, tiny_cfg, tmp_path):
    arguments = ["--weights", weights, "--input", images / "a.png", "--json", tmp_path / "x.json"]
    with pytest.raises(SystemExit, match="no config.yaml beside them"):
        run_script(*arguments)
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    run_script(*arguments, "--opts", "TEST.DETECTIONS_PER_IMAGE", 2)
    assert len(json.loads((tmp_path / "x.json").read_text())) == 2
