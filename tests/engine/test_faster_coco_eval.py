"""faster-coco-eval gives the numbers of pycocotools."""

import json
import logging
from functools import partial

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import coco_evaluation
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools import mask as mask_util
from pycocotools.cocoeval import COCOeval

from scnet import register_coco_json
from scnet.config import get_cfg
from scnet.data.datasets.catalog import set_reading
from scnet.engine.evaluation.coco_evaluator import SCNetCOCOEvaluator

pytest.importorskip("faster_coco_eval")

NAME = "test_fast_evaluation"
SIZE = (120, 160)  # of an image, height and width in pixels
CLASSES = ("cat", "dog", "crowd", "undetected", "absent")
IMAGES = 8  # the last two have no objects, the last has no detections either
MANY = 130  # detections in the first image
close = partial(np.testing.assert_allclose, rtol=0, atol=1e-9)  # pycocotools adds 2e-16 to sums


class Recorder(SCNetCOCOEvaluator):
    """Keeps what the metrics are computed from."""

    def _derive_coco_results(self, coco_eval, iou_type, class_names=None):
        self.evaluations = {**getattr(self, "evaluations", {}), iou_type: coco_eval}
        return super()._derive_coco_results(coco_eval, iou_type, class_names)


def ellipse(box):
    x, y, w, h = box
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = ((columns - x - w / 2) / (w / 2)) ** 2 + ((rows - y - h / 2) / (h / 2)) ** 2 <= 1
    return np.asfortranarray(inside, np.uint8)


def segment(box, form):
    x, y, w, h = box
    if form == "polygon":
        return [[x, y, x + w, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h]]
    rle = mask_util.encode(ellipse(box))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def random_box(rng):
    """x, y, width, height; a third each small, medium and large in COCO's sense."""
    low, high = ((6, 30), (34, 90), (100, 118))[rng.integers(3)]
    w, h = rng.uniform(low, high, 2)
    return [rng.uniform(0, SIZE[1] - w), rng.uniform(0, SIZE[0] - h), w, h]


def make_annotations(rng):
    annotations = []
    for image in range(1, IMAGES - 1):
        for _ in range(rng.integers(4, 12)):
            category = int(rng.integers(4))
            crowd = int(CLASSES[category] == "crowd" and rng.random() < 0.5)
            box = [round(float(v), 2) for v in random_box(rng)]
            segmentation = segment(box, "rle" if crowd or rng.random() < 0.3 else "polygon")
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 10 + category,
                    "bbox": box,
                    "area": box[2] * box[3] * 0.8,
                    "iscrowd": crowd,
                    "segmentation": segmentation,
                }
            )
    return annotations


def make_detections(rng, annotations, image):
    """Objects moved a little or much, of the right class or not, with many equal scores."""
    objects = [(x["bbox"], x["category_id"] - 10) for x in annotations if x["image_id"] == image]
    objects = objects or [(random_box(rng), 0)]
    boxes, classes = [], []
    for _ in range(0 if image == IMAGES else MANY if image == 1 else 20):
        box, category = objects[rng.integers(len(objects))]
        box = np.array(box) + rng.normal(0, rng.choice([0.5, 3, 12]), 4)
        boxes.append([*box[:2], *np.maximum(box[2:], 1)])
        wrong = rng.random() < 0.2 or CLASSES[category] == "undetected"
        classes.append(int(rng.choice([0, 1, 2, 4])) if wrong else category)
    masks = [torch.from_numpy(ellipse(box)).bool() for box in boxes]
    if masks:
        masks[0][:] = False  # a detection may have an empty mask
    corners = torch.tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float)
    corners[:, 2:] += corners[:, :2]
    return Instances(
        SIZE,
        pred_boxes=Boxes(corners),
        pred_masks=torch.stack(masks) if masks else torch.zeros(0, *SIZE).bool(),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
        scores=torch.tensor(rng.uniform(0, 1, len(boxes)).round(1)),
    )


@pytest.fixture(scope="module", params=range(3))
def detections(request, tmp_path_factory):
    """Registers a data set; image id -> detections in it."""
    rng = np.random.default_rng(request.param)
    annotations = make_annotations(rng)
    folder = tmp_path_factory.mktemp("fast")
    json_file = folder / "set.json"
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / "image.png")
    content = {
        "images": [
            {"id": k, "file_name": "image.png", "height": SIZE[0], "width": SIZE[1]}
            for k in range(1, IMAGES + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 10 + k, "name": name} for k, name in enumerate(CLASSES)],
    }
    json_file.write_text(json.dumps(content))
    register_coco_json(NAME, json_file, folder)
    cfg = get_cfg()
    cfg.DATASETS.CROWDS_ARE_OBJECTS = False
    set_reading(cfg, [NAME])
    DatasetCatalog.get(NAME)
    yield {k: make_detections(rng, annotations, k) for k in range(1, IMAGES + 1)}
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def evaluate(detections, img_ids=None, **kwargs):
    evaluator = Recorder(NAME, distributed=False, **kwargs)
    evaluator.reset()
    for image, instances in detections.items():
        evaluator.process([{"image_id": image}], [{"instances": instances}])
    return evaluator.evaluate(img_ids), evaluator.evaluations


@pytest.mark.parametrize("max_dets, img_ids", [(None, None), (20, None), (200, None), (50, [3, 1])])
def test_the_numbers_are_those_of_pycocotools(detections, max_dets, img_ids):
    options = {"max_dets_per_image": max_dets, "img_ids": img_ids}
    results, fast = evaluate(detections, **options)
    expected, slow = evaluate(detections, **options, use_fast_impl=False)
    assert set(expected) == {"bbox", "segm"} and all(isinstance(x, COCOeval) for x in slow.values())
    for task, metrics in expected.items():
        assert not isinstance(fast[task], COCOeval)
        assert results[task].keys() == metrics.keys()
        close(list(results[task].values()), list(metrics.values()))
        assert 1 < metrics["AP"] < 99 and np.isnan(metrics["AP-absent"])
        close(fast[task].stats, slow[task].stats)
        for name in ("precision", "recall", "scores"):
            close(fast[task].eval[name], slow[task].eval[name])


def test_the_log_names_the_implementation(detections, caplog, capsys, monkeypatch):
    before = coco_evaluation.COCOeval_opt
    for fast, name in ((True, "faster-coco-eval"), (False, "pycocotools")):
        with caplog.at_level(logging.INFO, "scnet"):
            evaluate(detections, use_fast_impl=fast)
        assert f"Matching and accumulation: {name}." in caplog.messages
        assert "Average Precision  (AP) @[ IoU=0.50:0.95" in capsys.readouterr().out
        caplog.clear()
    assert coco_evaluation.COCOeval_opt is before


def test_without_the_package_it_is_what_detectron2_has(detections, monkeypatch):
    monkeypatch.setattr("scnet.engine.evaluation.faster_coco_eval.COCOeval_faster", None)
    _, evaluations = evaluate(detections)
    assert isinstance(evaluations["segm"], coco_evaluation.COCOeval_opt)
