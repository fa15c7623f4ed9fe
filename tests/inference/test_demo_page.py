"""What the page of `scnet demo` shows, without a browser."""

import base64
import json
import re
import shutil
import sys

import cv2
import numpy as np
import pytest

from helpers import NAMES
from scnet import Predictor
from scnet.inference.context import Context
from scnet.inference.demo_page import LOWEST, Demo

MAP = ["sky", "road", "sky & more"]


@pytest.fixture
def demo(weights):
    return Demo(Predictor(weights, threshold=LOWEST, masks="rle"))


@pytest.fixture
def photo(tmp_path, images):
    path = tmp_path / 'my "photo" & more.png'
    cv2.imwrite(str(path), images[0])
    return str(path)


def json_of(link):
    """The data set that a link of the page holds."""
    return json.loads(base64.b64decode(re.search(r'base64,([^"]*)"', link)[1]))


def test_the_model_runs_once_and_the_rest_is_chosen(demo, photo, monkeypatch):
    calls, backend = [], demo.predictor.backend
    detect = backend.model.detect
    monkeypatch.setattr(backend.model, "detect", lambda *x: calls.append(1) or detect(*x))
    seen, sentence, picture, rows, link, _, _ = demo.look(photo, 0, [])
    scores = [row[1] for row in rows]
    assert len(rows) == len(seen.instances) > 2 and scores == sorted(scores, reverse=True)
    assert sentence.startswith(f"{len(rows)} of {len(rows)} objects in 80 x 64 pixels.")

    between = (scores[0] + scores[1]) / 2
    sentence, higher, few, link = demo.show(photo, seen, between, [])
    assert [row[1] for row in few] == scores[:1]
    assert sentence.startswith(f"1 of {len(rows)} objects")
    assert higher.shape == picture.shape and (higher != picture).any()
    name = rows[0][0]
    _, _, of_class, _ = demo.show(photo, seen, 0, [name])
    assert of_class == [row for row in rows if row[0] == name]
    assert demo.show(photo, seen, 0, [n for n in NAMES if n not in {r[0] for r in rows}])[2] == []
    assert calls == [1]

    content = json_of(link)
    [annotation] = content["annotations"]
    assert content["images"][0]["file_name"] == 'my "photo" & more.png'
    assert 'download="my &quot;photo&quot; &amp; more.json"' in link
    assert round(annotation["score"], 3) == few[0][1] and annotation["area"] == few[0][-1] > 0
    assert content["categories"][annotation["category_id"] - 1]["name"] == few[0][0]


def test_the_table_has_the_boxes_as_coco_writes_them(demo, photo):
    seen, *_, rows, _, _, _ = demo.look(photo, 0, [])
    boxes = seen.instances.pred_boxes.tensor[seen.instances.scores.argsort(descending=True)]
    for row, (x1, y1, x2, y2) in zip(rows, boxes.tolist()):
        assert row[2:6] == [round(x) for x in (x1, y1, x2 - x1, y2 - y1)]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: path.write_text("no image"), "no image of a known format"),
        (lambda path: cv2.imwrite(str(path), np.ones((8, 8), np.uint16)), "more than 8 bits"),
        (lambda path: cv2.imwrite(str(path), np.ones((400, 500), np.uint8)), "INPUT.MAX_PIXELS"),
        (lambda path: None, "does not exist"),
    ],
)
def test_what_cannot_be_used_is_said(demo, tmp_path, make, message):
    """By the name of the file alone; and nothing of the image before stays."""
    demo.predictor.backend.max_pixels = 100_000
    path = tmp_path / "mine.png"
    make(path)
    seen, sentence, *shown = demo.look(str(path), 0, [])
    assert seen is None and shown == [None, [], "", None, {}]
    assert message in sentence and "'mine.png'" in sentence and str(tmp_path) not in sentence


def test_gray_images_are_used(demo, tmp_path, images):
    path = str(tmp_path / "gray.png")
    cv2.imwrite(path, images[0][:, :, 0])
    assert demo.look(path, 0, [])[3]


def test_only_the_image_on_the_page_is_shown(demo, photo, tmp_path):
    """While the model looks at the next image, and once this one is no longer kept."""
    seen = demo.look(photo, 0, [])[0]
    other = str(tmp_path / "other.png")
    shutil.copy(photo, other)
    empty = ["", None, [], ""]
    assert demo.show(other, seen, 0, []) == demo.show(None, seen, 0, []) == empty
    assert demo.look(None, 0, []) == [None, *empty, None, {}]
    (tmp_path / 'my "photo" & more.png').unlink()
    sentence, *shown = demo.show(photo, seen, 0, [])
    assert "Drop it once more" in sentence and shown == empty[1:]


def test_context(demo, photo, monkeypatch):
    """Each class that is in the map is there once, with its place and name; and all scores."""
    numbers = np.zeros((32, 40), np.int64)
    numbers[:, 20:] = 2
    demo.semantic_names, demo.has_image_scores = MAP, True
    context = Context(numbers, np.linspace(0, 1, len(NAMES)))
    found = demo.predictor(photo)
    monkeypatch.setattr(demo.predictor, "with_context", lambda _: (found, context))
    *_, (base, parts), scores = demo.look(photo, 0, [])
    assert base.shape == (32, 40, 3) and base.std() > 1
    assert [name for _, name in parts] == [MAP[0], MAP[2]]
    assert (parts[1][0] > 0).tolist() == (numbers == 2).tolist()
    assert scores == dict(zip(NAMES, np.linspace(0, 1, len(NAMES)).tolist()))
    assert demo.tabs == ["Instances", "Semantic map", "Image scores"]
    demo.semantic_names, demo.has_image_scores = [], False
    assert demo.tabs == ["Instances"]


def test_the_page_needs_gradio(demo, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    with pytest.raises(ImportError, match="pip install 'gradio"):
        demo.page()
