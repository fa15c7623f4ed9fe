"""What is given to be drawn: COCO's objects and detections as Detectron2's."""

import pytest
from detectron2.structures import BoxMode

from report_sets import NOWHERE, OTHER_CLASS, SIDE, make_set
from scnet.config import get_cfg
from scnet.engine.report import pictures
from scnet.engine.report.matching import ImageOutcome


def test_boxes_classes_and_scores(images, monkeypatch):
    drawn = {}
    for name in ("draw_ground_truth", "draw_detections"):

        def keep(pixels, found, names, name=name):
            drawn[name] = found
            return pixels

        monkeypatch.setattr(pictures, name, keep)
    content, detections = make_set([[(0, NOWHERE, 0.9), (1, OTHER_CLASS, 0.25)]])
    objects = [{**x, "category_id": x["category_id"] // 5 + 1} for x in content["annotations"]]
    found = [{**x, "category_id": x["category_id"] // 5 + 1} for x in detections]
    entry = content["images"][0]
    outcome = ImageOutcome(1, 0, 2, 2)
    pair = pictures.draw_pair(outcome, entry, str(images), objects, found, "abc", get_cfg())
    assert pair.file_name == "0.png" and pair.label and pair.prediction and not pair.problem
    labels = drawn["draw_ground_truth"]["annotations"]
    assert [(x["category_id"], x["bbox_mode"]) for x in labels] == [
        (0, BoxMode.XYWH_ABS),
        (1, BoxMode.XYWH_ABS),
    ]
    instances = drawn["draw_detections"]
    assert instances.image_size == (SIDE, SIDE) and len(instances.pred_masks) == 2
    assert instances.pred_boxes.tensor.tolist() == [[150, 150, 190, 190], [100, 0, 150, 50]]
    assert instances.pred_classes.tolist() == [0, 2]
    assert instances.scores.tolist() == pytest.approx([0.9, 0.25])
