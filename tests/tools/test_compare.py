import json
import re
import runpy
import sys
from math import ceil

import cv2
import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model

from helpers import REPOSITORY, TINY
from scnet import register_coco_json
from scnet.visualization import COLORS

SCRIPT = "projects/SCNet/tools/compare.py"
CONFIG = "projects/SCNet/configs/quickstart.yaml"


@pytest.fixture
def models(tiny_cfg, tmp_path):
    """Weights of two models."""
    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        paths.append(tmp_path / f"{seed}.pth")
        torch.save({"model": build_model(tiny_cfg).state_dict()}, paths[-1])
    return paths


@pytest.fixture
def images(tmp_path):
    """Two images; the name of the first is no name for an address as it is."""
    for name, shape in {"a#1 &.png": (64, 80), "sub/b.jpg": (50, 70)}.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8))
    return tmp_path / "images"


@pytest.fixture
def arguments(tmp_path):
    """arguments({name: weights} or [(name, config, weights)], *more)"""

    def arguments(models, *more, threshold=0):
        if isinstance(models, dict):
            models = [(name, CONFIG, weights) for name, weights in models.items()]
        models = [x for model in models for x in ("--model", *model)]
        fixed = ["--output", tmp_path / "out", "--threshold", threshold]
        return [str(x) for x in (SCRIPT, *models, *fixed, *more, "--opts", *TINY)]

    return arguments


@pytest.fixture
def compare(arguments, monkeypatch):
    """Run the script within this process, as starting another takes longer than the rest."""

    def compare(*args, **kwargs):
        monkeypatch.chdir(REPOSITORY)
        monkeypatch.setattr(sys, "argv", arguments(*args, **kwargs))
        runpy.run_path(SCRIPT, run_name="__main__")

    return compare


@pytest.fixture
def check_refused(compare):
    def check_refused(message, *args):
        with pytest.raises(SystemExit) as info:
            compare(*args)
        assert str(info.value).startswith("compare.py: ")
        assert message in str(info.value)

    return check_refused


def split(picture, count):
    """The panels without their captions."""
    picture = cv2.imread(str(picture)).astype(int)
    assert picture.shape[1] % count == 0
    return np.split(picture[32:], count, axis=1)


def predict(cfg, weights, image):
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = str(weights)
    return DefaultPredictor(cfg)(read_image(str(image), format="BGR"))["instances"]


def test_models_side_by_side(run_here, arguments, models, images, tiny_cfg, tmp_path):
    """The first and the last model are the same, so their panels must be, colours included."""
    files = [images / "a#1 &.png", images / "sub/b.jpg"]
    names = {"a<b>": models[0], "two words": models[1], "$ again": models[0]}
    scores = {n: [predict(tiny_cfg, w, f).scores for f in files] for n, w in names.items()}
    # In the middle of the widest gap, so that rounding cannot move a detection over it.
    known = torch.cat([s for n in ("a<b>", "two words") for s in scores[n]]).sort().values
    gap = (known[1:] - known[:-1]).argmax()
    threshold = float(known[gap : gap + 2].mean())
    counts = [{n: int((s[i] > threshold).sum()) for n, s in scores.items()} for i in (0, 1)]
    assert 0 < sum(c["a<b>"] + c["two words"] for c in counts) < len(known)

    result = run_here(*arguments(names, "--input", images, threshold=threshold))
    assert "2/2" in result.stdout  # the progress bar

    out = tmp_path / "out"
    found = json.loads((out / "predictions.json").read_text())
    pictures = ["a#1 &.png", "sub/b.png"]
    assert found["threshold"] == threshold
    assert [x["image"] for x in found["images"]] == list(map(str, files))
    assert [x["picture"] for x in found["images"]] == pictures
    assert [x["detections"] for x in found["images"]] == counts

    for picture, (height, width), count in zip(pictures, ((64, 80), (50, 70)), counts):
        one, two, again = split(out / picture, 3)
        scale = ceil(512 / max(height, width))
        assert one.shape[:2] == (height * scale, width * scale + 2 * 4)  # a margin at either side
        assert (one == again).all()
        if any(count.values()):
            assert (one != two).any()

    page = (out / "index.html").read_text()
    assert re.findall('<img src="(.*?)"', page) == ["a%231%20%26.png", "sub/b.png"]
    assert re.findall(r"<b>(.*?)</b> (\d / \d)", page) == [
        ("a#1 &amp;.png", "1 / 2"),
        ("sub/b.png", "2 / 2"),
    ]
    assert "a<b>" not in page
    for count in counts:
        assert f"a&lt;b&gt;: {count['a<b>']}, two words: {count['two words']}, $ again:" in page
    assert not re.search(r"https?:|//cdn|\$(?! again)", page)  # nothing to load, all filled in


def test_a_data_set_has_a_panel_of_ground_truth(run_here, arguments, models, environment, tmp_path):
    """No score reaches the threshold, so the other panels are the image as it is."""
    args = ["--input", "scnet_shapes_val", "--limit", 2]
    names = {"one": models[0], "two": models[1]}
    run_here(*arguments(names, *args, threshold=1.1), env=environment)
    rows = json.loads((tmp_path / "out/predictions.json").read_text())["images"]
    assert len(rows) == 2
    for row in rows:
        assert row["detections"] == {"one": 0, "two": 0}
        truth, one, two = (x[:, 4:-4] for x in split(tmp_path / "out" / row["picture"], 3))
        assert (one == two).all()
        size = truth.shape[1::-1]
        image = cv2.resize(cv2.imread(row["image"]), size, interpolation=cv2.INTER_NEAREST)
        assert np.abs(one - image).mean() < 5
        # The semantic map has the classes of the objects first, then those of the ground.
        sem_seg = cv2.imread(row["image"].replace("/val/", "/stuffthingmaps/val/"), 0)
        sem_seg = cv2.resize(sem_seg, size, interpolation=cv2.INTER_NEAREST)
        classes = [c for c in np.unique(sem_seg) if c < 5]
        assert classes
        for c in classes:  # half the image, half the colour of the class
            added = np.median((truth - one / 2)[sem_seg == c], axis=0)
            np.testing.assert_allclose(added, COLORS[c, ::-1] * 255 / 2, atol=5)
        assert (np.median((truth - one)[sem_seg >= 5], axis=0) == 0).all()


def write_json(tmp_path, images, names, **keys):
    """An own data set in COCO format with these classes, and a config that names it."""
    content = {
        "images": [{"id": 1, "file_name": "sub/b.jpg", "height": 50, "width": 70}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
        **keys,
    }
    (tmp_path / "own.json").write_text(json.dumps(content))
    config = tmp_path / "own.yaml"
    config.write_text(
        f"_BASE_: {REPOSITORY / CONFIG}\n"
        f"DATASETS: {{TEST_JSON: ['{tmp_path / 'own.json'}'], TEST_IMAGES: ['{images}']}}\n"
    )
    return config, f"{tmp_path.name}/own"


def test_an_own_data_set_without_annotations_has_no_ground_truth(compare, models, images, tmp_path):
    config, name = write_json(tmp_path, images, "ABCDE", annotations=[])
    compare([(w.stem, config, w) for w in models], "--input", name)
    one, two = split(tmp_path / "out/b.png", 2)
    assert one.shape[1] == 8 * 70 + 2 * 4


def test_masks_of_all_kinds_keep_their_holes(compare, models, images, tmp_path):
    frame = np.zeros((50, 70), np.uint8, order="F")
    frame[5:45, 5:45] = 1
    frame[15:35, 15:35] = 0
    starts = np.flatnonzero(np.diff(frame.ravel("F"), prepend=0))
    runs = np.diff([0, *starts, frame.size]).tolist()  # of 0 and 1 in turn, column by column
    shared = {"image_id": 1, "category_id": 1, "area": 1}
    annotations = [
        {"segmentation": {"size": [50, 70], "counts": runs}, "bbox": [5, 5, 40, 40], "iscrowd": 1},
        {"segmentation": [[50, 5, 65, 5, 65, 20, 50, 20]], "bbox": [50, 5, 15, 15], "iscrowd": 0},
    ]
    annotations = [{"id": i, **a, **shared} for i, a in enumerate(annotations, 1)]
    config, name = write_json(tmp_path, images, "ABCDE", annotations=annotations)
    pair = [("a long name " * 20, config, models[0]), ("two", config, models[1])]
    compare(pair, "--input", name, threshold=1.1)
    truth, one, _ = split(tmp_path / "out/b.png", 3)
    scale = 8

    def changed(x, y, side=4):  # around a point of the image
        area = np.s_[
            (y - side // 2) * scale : (y + side // 2) * scale,
            (x - side // 2) * scale + 4 : (x + side // 2) * scale + 4,
        ]
        return (truth[area] != one[area]).any(axis=2).mean()

    assert changed(25, 10) > 0.9 and changed(10, 25) > 0.9  # the frame
    assert changed(58, 12) > 0.9  # the polygon
    assert changed(25, 25) == 0  # the hole
    caption = cv2.imread(str(tmp_path / "out/b.png"))[:32, 568:1136]
    assert (caption[:, 10:-10] < 128).any() and (caption[:, [0, -1]] == 255).all()


def test_models_of_different_classes_are_refused(check_refused, models, images, tmp_path):
    names = ["disk", "rectangle", "square", "star", "ring"]
    config, _ = write_json(tmp_path, images, names, annotations=[])
    pair = [("the first", CONFIG, models[0]), ("the second", config, models[1])]
    message = "'the first' and model 'the second' differ in class 2: 'triangle' and 'square'"
    check_refused(message, pair, "--input", images)


def test_a_data_set_of_other_classes_is_refused(check_refused, models, images, tmp_path):
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    _, name = write_json(tmp_path, images, ["disk", "square"], annotations=[box])
    register_coco_json(name, str(tmp_path / "own.json"), str(images))
    message = f"'one' and data set '{name}' differ in class 1: 'rectangle' and 'square'"
    check_refused(message, {"one": models[0], "two": models[1]}, "--input", name)


@pytest.mark.parametrize(
    "names, message",
    [
        (["one"], "at least two models"),
        (["one", "one"], "Two models are named 'one'"),
        (["one", "gone"], "gone.pth' of model 'gone' are no file"),
    ],
)
def test_models_that_cannot_be_compared(check_refused, models, images, tmp_path, names, message):
    files = {"one": models[0], "gone": tmp_path / "gone.pth"}
    check_refused(message, [(n, CONFIG, files[n]) for n in names], "--input", images)
    assert not (tmp_path / "out").exists()


def test_inputs_that_cannot_be_compared(check_refused, models, images):
    names = {"one": models[0], "two": models[1]}
    check_refused("'nowhere' is no image", names, "--input", "nowhere")
    check_refused("--limit must be 1 or more", names, "--input", images, "--limit", 0)
    broken = images / "sub/b.jpg"
    broken.write_bytes(broken.read_bytes()[:-100])  # as after an interrupted download
    check_refused(f"Cannot read image '{broken}'", names, "--input", broken)


@pytest.mark.parametrize("existing", ["b.png", "index.html", "predictions.json"])
def test_files_are_replaced_only_when_asked(
    compare, check_refused, models, images, tmp_path, existing
):
    names = {"one": models[0], "two": models[1]}
    mine = tmp_path / "out" / existing
    mine.parent.mkdir()
    mine.write_text("mine")
    check_refused("add --overwrite", names, "--input", images / "sub/b.jpg")
    assert list(mine.parent.iterdir()) == [mine] and mine.read_text() == "mine"
    compare(names, "--input", images / "sub/b.jpg", "--overwrite")
    assert mine.read_bytes() != b"mine"
