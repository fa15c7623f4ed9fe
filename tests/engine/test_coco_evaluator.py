import copy
import json
import uuid

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_util

from scnet import register_coco_json
from scnet.engine.evaluation.coco_evaluator import SCNetCOCOEvaluator

properties = settings(deadline=None, max_examples=20, derandomize=True)
SIDE = 128  # so that there are small, medium and large objects in COCO's sense
SHORT = [3, 4, 20, 30]  # a polygon of two points


def rectangle_mask(box):
    x, y, w, h = box
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    return mask


def segment(box, form):
    x, y, w, h = box
    if form == "polygon":
        return [[x, y, x + w, y, x + w, y + h, x, y + h]]
    rle = mask_util.encode(rectangle_mask(box))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


@st.composite
def data_sets(draw):
    """A complete json, and for each of its objects a box near it as its prediction."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    annotations, predictions = [], []
    for number in range(1, draw(st.integers(2, 8)) + 1):
        x, y = rng.integers(0, SIDE - 12, 2)
        w, h = rng.integers(10, [SIDE - x, SIDE - y])
        box = [int(v) for v in (x, y, w, h)]
        annotation = {
            "id": number,
            "image_id": int(rng.integers(1, 3)),
            "category_id": int(rng.integers(1, 3)),
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": int(number > 2 and rng.random() < 0.2),
        }
        annotation["segmentation"] = segment(box, "rle" if annotation["iscrowd"] else "polygon")
        if rng.random() < 0.3:
            annotation["segmentation"] = segment(box, "rle")
        annotations.append(annotation)
        moved = [*np.maximum(box[:2] - rng.integers(0, 4, 2), 0).tolist(), *box[2:]]
        predictions.append((annotation["image_id"], annotation["category_id"] - 1, moved))
    return {
        "images": [
            {"id": k, "file_name": "image.png", "height": SIDE, "width": SIDE} for k in (1, 2)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }, predictions


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(folder / "image.png")

    def evaluate(content, predictions, masks=True):
        """Average precisions of predictions on a json of this content."""
        name = f"test_{uuid.uuid4().hex}"
        json_file = folder / f"{name}.json"
        json_file.write_text(json.dumps(content))
        register_coco_json(name, json_file, folder)
        try:
            evaluator = SCNetCOCOEvaluator(name, distributed=False)
            evaluator.reset()
            for record in DatasetCatalog.get(name):
                found = [p for p in predictions if p[0] == record["image_id"]]
                instances = make_predictions(found)
                if not masks:
                    instances.remove("pred_masks")
                evaluator.process([record], [{"instances": instances}])
            return evaluator.evaluate()
        finally:
            json_file.unlink()
            if name in DatasetCatalog:
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)

    return evaluate


def make_predictions(found):
    instances = Instances((SIDE, SIDE))
    boxes = torch.tensor([box for _, _, box in found], dtype=torch.float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = [torch.from_numpy(rectangle_mask(box)).bool() for _, _, box in found]
    instances.pred_boxes = Boxes(boxes)
    instances.pred_masks = torch.stack(masks) if masks else torch.zeros(0, SIDE, SIDE).bool()
    instances.pred_classes = torch.tensor([k for _, k, _ in found], dtype=torch.int64)
    instances.scores = torch.linspace(0.9, 0.5, len(found))
    return instances


def check_same(results, expected):
    assert expected["segm"]["AP"] > 0
    for task in ("bbox", "segm"):
        np.testing.assert_equal(results[task], expected[task])


@properties
@given(drawn=data_sets(), missing=st.sets(st.sampled_from(["area", "iscrowd"]), min_size=1))
def test_without_area_and_iscrowd_the_precision_is_the_same(evaluate, drawn, missing):
    complete, predictions = drawn
    content = copy.deepcopy(complete)
    for annotation in content["annotations"]:
        for key in missing:
            if key == "area" or not annotation["iscrowd"]:
                del annotation[key]
    check_same(evaluate(content, predictions), evaluate(complete, predictions))


@properties
@given(drawn=data_sets(), data=st.data())
def test_polygons_of_two_points_beside_good_ones_do_not_count(evaluate, drawn, data):
    complete, predictions = drawn
    content = copy.deepcopy(complete)
    for annotation in content["annotations"]:
        if isinstance(annotation["segmentation"], list):
            place = data.draw(st.integers(0, 1))
            annotation["segmentation"].insert(place, SHORT)
            if data.draw(st.booleans()):
                del annotation["area"]
    check_same(evaluate(content, predictions), evaluate(complete, predictions))


@properties
@given(drawn=data_sets())
def test_objects_without_any_valid_polygon_are_left_out(evaluate, drawn):
    complete, predictions = drawn
    content = copy.deepcopy(complete)
    for k, form in enumerate(([SHORT], [SHORT, SHORT])):
        bad = {"id": 100 + k, "image_id": 1, "category_id": 2, "bbox": [3, 4, 17, 26]}
        content["annotations"].insert(k, {**bad, "segmentation": form})
    check_same(evaluate(content, predictions), evaluate(complete, predictions))


@properties
@given(drawn=data_sets())
def test_annotations_of_no_image_are_left_out(evaluate, drawn):
    complete, predictions = drawn
    content = copy.deepcopy(complete)
    content["annotations"].append({**content["annotations"][0], "id": 100, "image_id": 3})
    check_same(evaluate(content, predictions), evaluate(complete, predictions))


def test_boxes_alone_are_evaluated_without_area(evaluate):
    box = [10, 10, 60, 40]
    content = {
        "images": [{"id": 1, "file_name": "image.png", "height": SIDE, "width": SIDE}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": box}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    results = evaluate(content, [(1, 0, box)], masks=False)
    assert list(results) == ["bbox"]
    assert results["bbox"]["AP"] == results["bbox"]["APm"] == pytest.approx(100)
    assert np.isnan(results["bbox"]["APs"]) and np.isnan(results["bbox"]["APl"])


def test_the_ids_of_objects_may_start_at_zero(evaluate):
    boxes = [[10, 10, 60, 40], [70, 60, 40, 40]]
    content = {
        "images": [{"id": 1, "file_name": "image.png", "height": SIDE, "width": SIDE}],
        "annotations": [
            {
                "id": k,
                "image_id": 1,
                "category_id": 1,
                "bbox": box,
                "segmentation": segment(box, "rle"),
            }
            for k, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    results = evaluate(content, [(1, 0, box) for box in boxes])
    assert results["bbox"]["AP"] == results["segm"]["AP"] == pytest.approx(100)
