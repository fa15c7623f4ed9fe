import contextlib
import json
import uuid

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scnet import register_coco_json
from scnet.engine.evaluation.coco_evaluator import SCNetCOCOEvaluator

properties = settings(deadline=None, max_examples=25, derandomize=True)
CELL = 16
SIZE = (3 * CELL, 4 * CELL)
NAMES = ("cat", "dog", "ant", "zebra", "bee", "Ape")


@st.composite
def data_sets(draw):
    """A json of two images; in the first is an object of each category. None overlap."""
    ids = draw(st.lists(st.integers(0, 10**6), min_size=2, max_size=len(NAMES), unique=True))
    names = draw(st.permutations(NAMES))[: len(ids)]
    more = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=4))
    annotations = []
    for k, category in enumerate([*ids, *more]):
        x, y = (CELL * cell + draw(st.integers(0, CELL - 4)) for cell in (k % 4, k // 4))
        w, h = (draw(st.integers(4, CELL - start % CELL)) for start in (x, y))
        annotation = {
            "id": k + 1,
            "image_id": 11 if k < len(ids) else 5,
            "category_id": category,
            "bbox": [x, y, w, h],
            "area": w * h,
            "iscrowd": 0,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        annotations.append(annotation)
    return {
        "images": [
            {"id": number, "file_name": "image.png", "height": SIZE[0], "width": SIZE[1]}
            for number in (11, 5)
        ],
        "annotations": draw(st.permutations(annotations)),
        "categories": [{"id": i, "name": name} for i, name in zip(ids, names)],
    }


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / "image.png")

    @contextlib.contextmanager
    def registered(content):
        """The name of a data set of this content, while it is needed."""
        name = f"test_{uuid.uuid4().hex}"
        json_file = folder / f"{name}.json"
        json_file.write_text(json.dumps(content))
        register_coco_json(name, json_file, folder)
        try:
            yield name
        finally:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)

    return registered


def ground_truth_as_predictions(record):
    annotations = record["annotations"]
    instances = Instances((record["height"], record["width"]))
    boxes = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = torch.zeros(len(boxes), *instances.image_size, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
        mask[y1:y2, x1:x2] = True
    instances.pred_boxes, instances.pred_masks = Boxes(boxes), masks
    instances.scores = torch.linspace(0.9, 0.5, len(boxes))
    instances.pred_classes = torch.tensor([a["category_id"] for a in annotations])
    return instances


def evaluate(name, predict, output_dir=None):
    evaluator = SCNetCOCOEvaluator(name, distributed=False, output_dir=output_dir)
    evaluator.reset()
    for record in DatasetCatalog.get(name):
        evaluator.process([record], [{"instances": predict(record)}])
    return evaluator.evaluate()


@properties
@given(data_sets(), st.data())
def test_records_are_those_of_detectron2(registered, content, data):
    """Its load_coco_json is the reference, also of what it leaves out and packs."""
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        mask = np.zeros(SIZE, np.uint8, order="F")
        mask[y : y + h, x : x + w] = 1
        runs = np.diff(np.flatnonzero(np.diff(mask.ravel("F"), prepend=2, append=2))).tolist()
        counts = runs if mask[0, 0] == 0 else [0, *runs]
        forms = [
            annotation["segmentation"],
            [[x, y, x + w, y], *annotation["segmentation"]],  # a polygon of two points
            [[x, y, x + w, y]],
            {"size": list(SIZE), "counts": counts},
        ]
        annotation["segmentation"] = data.draw(st.sampled_from(forms))
        if data.draw(st.booleans()):
            del annotation["iscrowd"]
    with registered(content) as name:
        metadata = MetadataCatalog.get(name)
        records = DatasetCatalog.get(name)
        classes = metadata.thing_classes, metadata.thing_dataset_id_to_contiguous_id
        del metadata.thing_classes, metadata.thing_dataset_id_to_contiguous_id
        expected = load_coco_json(metadata.json_file, metadata.image_root, name)
        assert (metadata.thing_classes, metadata.thing_dataset_id_to_contiguous_id) == classes
    for annotation in (x for record in expected for x in record["annotations"]):
        annotation.setdefault("iscrowd", 0)
    assert records == expected


@properties
@given(content=data_sets())
def test_classes_are_numbered_in_the_order_of_the_category_ids(registered, content):
    with registered(content) as name:
        records, metadata = DatasetCatalog.get(name), MetadataCatalog.get(name)
    names = {c["id"]: c["name"] for c in content["categories"]}
    assert metadata.thing_dataset_id_to_contiguous_id == {i: k for k, i in enumerate(sorted(names))}
    assert metadata.thing_classes == [names[i] for i in sorted(names)]
    loaded = [
        (r["image_id"], a["bbox"], sorted(names)[a["category_id"]])
        for r in records
        for a in r["annotations"]
    ]
    written = [(a["image_id"], a["bbox"], a["category_id"]) for a in content["annotations"]]
    assert sorted(loaded) == sorted(written)


@properties
@given(content=data_sets())
def test_predictions_are_written_with_the_ids_of_the_json(registered, tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("results")
    with registered(content) as name:
        evaluate(name, ground_truth_as_predictions, str(folder))
        ids = MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id
        back = {k: i for i, k in ids.items()}
        converted = [
            (p["image_id"], p["bbox"], back[p["category_id"]])
            for r in DatasetCatalog.get(name)
            for p in instances_to_coco_json(ground_truth_as_predictions(r), r["image_id"])
        ]
    results = json.loads((folder / "coco_instances_results.json").read_text())
    by_evaluator = [(p["image_id"], p["bbox"], p["category_id"]) for p in results]
    expected = [(a["image_id"], a["bbox"], a["category_id"]) for a in content["annotations"]]
    assert sorted(by_evaluator) == sorted(converted) == sorted(expected)


@properties
@given(content=data_sets())
def test_the_ground_truth_has_full_precision(registered, content):
    with registered(content) as name:
        results = evaluate(name, ground_truth_as_predictions)
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(100)
        for category in content["categories"]:
            assert results[task][f"AP-{category['name']}"] == pytest.approx(100)


@properties
@given(content=data_sets(), data=st.data())
def test_classes_that_are_swapped_have_no_precision(registered, content, data):
    categories = sorted(content["categories"], key=lambda c: c["id"])
    swapped = data.draw(st.permutations(range(len(categories))))[:2]
    classes = torch.arange(len(categories))
    classes[swapped] = classes[swapped[::-1]]

    def predict(record):
        instances = ground_truth_as_predictions(record)
        instances.pred_classes = classes[instances.pred_classes]
        return instances

    with registered(content) as name:
        results = evaluate(name, predict)
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(100 * (1 - 2 / len(categories)))
        for k, category in enumerate(categories):
            expected = 0 if k in swapped else 100
            assert results[task][f"AP-{category['name']}"] == pytest.approx(expected)
