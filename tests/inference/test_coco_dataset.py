"""What was predicted as a data set in COCO format, which the project itself reads again."""

import json
import logging

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_util

from helpers import NAMES
from scnet.data.content import read_content
from scnet.data.masks import find_mistake, to_rle
from scnet.data.validation.check_json import check_json
from scnet.inference.coco_dataset import CocoDataset
from scnet.inference.inputs import Frame, InputImage, InputVideo
from scnet.inference.mask_formats import RLEMasks
from scnet.inference.polygons import to_polygons


def encode(bitmap):
    rle = mask_util.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def blobs(rng, height, width, smooth):
    """A random shape of several parts without holes; some touch the border of the image."""
    noise = rng.normal(size=(height, width)).astype(np.float32)
    mask = (cv2.GaussianBlur(noise, (0, 0), smooth) > 0).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(mask, outlines, -1, 1, -1)


def iou(segmentation, rle):
    return mask_util.iou([to_rle(segmentation, *rle["size"])], [rle], [0])[0, 0]


@pytest.mark.parametrize("tolerance", [0, 0.3, 1, 5])
def test_polygons_are_the_mask(tolerance):
    rng = np.random.default_rng(0)
    for _ in range(40):
        height, width = rng.integers(1, 120, 2).tolist()
        rle = encode(blobs(rng, height, width, rng.uniform(0.5, 9)))
        if mask_util.area(rle):
            polygons = to_polygons(rle, tolerance)
            assert find_mistake(polygons, height, width) is None
            assert iou(polygons, rle) >= (0.98 if tolerance else 1)


def test_a_tolerance_saves_points_and_is_kept():
    disk = np.zeros((400, 400), np.uint8)
    cv2.circle(disk, (200, 190), 150, 1, -1)
    [exact], [simple] = (to_polygons(encode(disk), x) for x in (0, 1))
    assert len(simple) < len(exact) / 10
    radii = np.hypot(*(np.reshape(simple, (-1, 2)) - (200.5, 190.5)).T)
    assert abs(radii - 150).max() < 2


def test_outlines_are_within_the_border_on_all_sides():
    square = np.pad(np.ones((10, 20)), 5)
    [polygon] = to_polygons(encode(square), 0)
    x, y = np.reshape(polygon, (-1, 2)).T
    assert (x.min(), x.max(), y.min(), y.max()) == (5.25, 24.75, 5.25, 14.75)


def test_a_mask_with_a_hole_has_no_polygons():
    frame = np.pad(np.zeros((3, 4)), 5, constant_values=1)
    assert to_polygons(encode(frame), 1) is None
    frame[:7, 6] = 0  # the hole is open
    assert iou(to_polygons(encode(frame), 0), encode(frame)) == 1


SIZE = (60, 80)


def make_found(masks, scores, classes):
    boxes = torch.tensor([[0.0, 0, 9, 9]] * len(masks)).reshape(-1, 4)
    found = Instances(SIZE, pred_boxes=Boxes(boxes), scores=torch.tensor(scores))
    found.pred_classes = torch.tensor(classes, dtype=torch.int64)
    found.pred_masks = RLEMasks(map(encode, masks))
    return found


def image(path, picture):
    return Frame(InputImage(path, picture), 1, np.zeros((*SIZE, 3), np.uint8))


@pytest.fixture
def masks():
    rng = np.random.default_rng(1)
    ring = np.zeros(SIZE, np.uint8)
    cv2.circle(ring, (40, 30), 20, 1, 5)
    return [blobs(rng, *SIZE, 6), ring, np.zeros(SIZE, np.uint8), blobs(rng, *SIZE, 4)]


@pytest.mark.parametrize("tolerance", [None, 1])
def test_a_data_set_is_read_again(masks, tmp_path, tolerance, caplog):
    path = tmp_path / "sub/coco.json"
    found = make_found(masks, [0.5, 0.9, 0.8, 0.7], [0, 2, 1, 1])
    with caplog.at_level(logging.WARNING), CocoDataset(str(path), NAMES, None, tolerance) as writer:
        writer.write(image("in/a.jpg", "a.png"), found)
        writer.write(image("in/b/c.tif", "b/c.png"), make_found([], [], []))
        writer.write(image("in/b/d.png", "b/d.png"), make_found(masks[:1], [1.0], [4]))
    content, notes = read_content(str(path))
    assert not notes
    assert [(x["id"], x["file_name"]) for x in content["images"]] == [
        *((1, "a.jpg"), (2, "b/c.tif"), (3, "b/d.png"))
    ]
    assert {(x["height"], x["width"]) for x in content["images"]} == {SIZE}
    assert [x["name"] for x in content["categories"]] == NAMES
    annotations = content["annotations"]
    assert [x["id"] for x in annotations] == [1, 2, 3, 4]
    assert [x["image_id"] for x in annotations] == [1, 1, 1, 3]
    assert [x["category_id"] for x in annotations] == [3, 2, 1, 5]
    assert [round(x["score"], 6) for x in annotations] == [0.9, 0.7, 0.5, 1]
    for x, k in zip(annotations, (1, 3, 0, 0)):
        rle = encode(masks[k])
        assert iou(x["segmentation"], rle) >= (0.98 if tolerance else 1)
        assert isinstance(x["segmentation"], list) == (tolerance is not None and k != 1)
        assert x["area"] == masks[k].sum() and x["bbox"] == mask_util.toBbox(rle).tolist()
    assert ("1 of 4 masks" in caplog.text) == (tolerance is not None)
    assert "1 objects without a pixel" in caplog.text


def test_the_check_finds_nothing_wrong(masks, tmp_path):
    """As check_dataset.py reads it, before training."""
    path = tmp_path / "coco.json"
    with CocoDataset(str(path), NAMES, None, 0.5) as writer:
        writer.write(image("a.jpg", "a.png"), make_found(masks, [0.5, 0.9, 0.8, 0.7], [0, 2, 1, 1]))
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((*SIZE, 3), np.uint8))
    summary = check_json(str(path), str(tmp_path))
    assert not summary.report.errors
    assert set(summary.report.notes) == {"class without objects"}
    assert (summary.num_objects, summary.num_masks, summary.num_rle) == (3, 3, 1)


def test_an_error_leaves_no_file(tmp_path):
    path = tmp_path / "coco.json"
    with pytest.raises(KeyError), CocoDataset(str(path), NAMES) as writer:
        writer.write(image("a.jpg", "a.png"), make_found([], [], []))
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_inputs_that_a_data_set_cannot_have():
    writer = CocoDataset("coco.json", NAMES)
    with pytest.raises(ValueError, match="'a.mp4' is no image"):
        writer.check([InputVideo("a.mp4", "a.mp4")])
    same = [InputImage(f"{x}/a.jpg", "a.png") for x in "xy"]
    with pytest.raises(ValueError, match="'x/a.jpg' and 'y/a.jpg' would both be 'a.jpg'"):
        writer.check(same)
    writer.check([InputImage("x/a.jpg", "a.png"), InputImage("x/a.tif", "a.png")])
    with pytest.raises(ValueError, match="--polygons must be 0 or more pixels, not -1"):
        CocoDataset("coco.json", NAMES, tolerance=-1)


def test_a_model_without_masks(tmp_path):
    found = make_found([np.ones(SIZE)], [0.5], [0])
    found.remove("pred_masks")
    with CocoDataset(str(tmp_path / "x.json"), NAMES) as writer:
        writer.write(image("a.jpg", "a.png"), found)
    [annotation] = json.loads((tmp_path / "x.json").read_text())["annotations"]
    assert annotation["bbox"] == [0, 0, 9, 9] and annotation["area"] == 81
    assert "segmentation" not in annotation
    writer = CocoDataset(str(tmp_path / "x.json"), NAMES, None, 1)
    with pytest.raises(ValueError, match="predicts no masks"), writer:
        writer.write(image("a.jpg", "a.png"), found)
