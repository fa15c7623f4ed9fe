"""COCO's twelve measures of boxes and masks, of files as odd as json allows.

The reference is pycocotools on the same data with plain ids, right areas and no missing values.
"""

import contextlib
import io
import json
import os
import uuid

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scnet import register_coco_json
from scnet.config import get_cfg
from scnet.data.datasets.catalog import set_reading
from scnet.engine.evaluation.coco_evaluator import SCNetCOCOEvaluator

# More for a longer search: SCNET_EXAMPLES=300 pytest tests/engine/test_twelve_measures.py
EXAMPLES = int(os.environ.get("SCNET_EXAMPLES", 25))
SIDE = 112  # above 96, so that objects can be large in COCO's sense
MEASURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl")

pytestmark = pytest.mark.slow

# By kind, the k-th id. The order of the ids is kept.
IDS = {
    "plain": lambda k: k + 1,
    "from zero": lambda k: k,
    "negative": lambda k: k - 50,
    "beyond 2^53": lambda k: 2**53 + k,
    "unsigned 64 bit": lambda k: 2**64 - 50 + k,
    "time stamps": lambda k: 20261125093000000000 + k,
    "text": "id {:03}".format,
    "digits as text": "{:03}".format,
    "floats": lambda k: float(k + 1),
}
AREAS = [None, -5, 0, "large", 1e12, float("inf"), True]


def rectangle(rng):
    low, high = ((4, 30), (33, 90), (97, 110))[rng.choice(3, p=[0.5, 0.3, 0.2])]
    w, h = rng.integers(low, high, 2)
    return [int(rng.integers(0, SIDE - w)), int(rng.integers(0, SIDE - h)), int(w), int(h)]


def mask_of(box):
    x, y, w, h = box
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    mask[y : y + h // 3, x : x + w // 3] = 0
    return mask


def rle_of(mask):
    rle = mask_util.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def polygon_of(box):
    x, y, w, h = box
    dx, dy = w // 3, h // 3
    corners = [(x + dx, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y + dy), (x + dx, y + dy)]
    return [[value for corner in corners for value in corner]]


def make_case(seed, kinds, crowded):
    """A plain json, an odd one of the same, and detections: image, class, box, score."""
    rng = np.random.default_rng(seed)
    num_images, num_classes = rng.integers(1, 6), rng.integers(1, 4)
    plain, detections = [], []
    for image in range(num_images):
        many = crowded and image == 0
        for k in range(rng.integers(101, 130) if many else rng.integers(0, 7)):
            box = rectangle(rng)
            mask = mask_of(box)
            crowd = int(k > 0 and not many and rng.random() < 0.15)
            segmentation = rle_of(mask) if crowd or rng.random() < 0.4 else polygon_of(box)
            annotation = {
                "image_id": image + 1,
                "category_id": int(rng.integers(num_classes)) + 1,
                "iscrowd": crowd,
                "bbox": box,
                "segmentation": segmentation,
                "area": int(mask.sum()),
            }
            plain.append({"id": len(plain) + 1, **annotation})
            moved = [
                int(v) for v in np.maximum(np.array(box) + rng.integers(-3, 4, 4), [0, 0, 3, 3])
            ]
            found = annotation["category_id"] - 1 if rng.random() < 0.9 else 0
            for _ in range(rng.choice(3, p=[0.2, 0.7, 0.1])):
                detections.append((image, found, moved))
    odd = [
        {
            **x,
            "id": IDS[kinds["images"]](x["id"] - 1),
            "image_id": IDS[kinds["images"]](x["image_id"] - 1),
            "category_id": IDS[kinds["categories"]](x["category_id"] - 1),
        }
        for x in plain
    ]
    for annotation in odd:
        if rng.random() < 0.5:
            annotation["area"] = AREAS[rng.integers(len(AREAS))]
        elif rng.random() < 0.3:
            del annotation["area"]
        if not annotation["iscrowd"] and rng.random() < 0.3:
            del annotation["iscrowd"]
    scores = rng.permutation(len(detections)) / max(len(detections), 1)
    contents = []
    for annotations, number in ((plain, None), (odd, kinds)):
        contents.append(
            {
                "images": [
                    {
                        "id": IDS[number["images"] if number else "plain"](k),
                        "file_name": "image.png",
                        "height": SIDE,
                        "width": SIDE,
                    }
                    for k in range(num_images)
                ],
                "categories": [
                    {"id": IDS[number["categories"] if number else "plain"](k), "name": f"c{k}"}
                    for k in range(num_classes)
                ],
                "annotations": annotations,
            }
        )
    return contents, [(*x, float(score)) for x, score in zip(detections, scores)]


def clipped(box):
    x, y, w, h = box
    return [x, y, min(w, SIDE - x), min(h, SIDE - y)]


def by_pycocotools(content, detections, task):
    """The twelve measures in percent, from pycocotools alone."""
    results = [
        {
            "image_id": image + 1,
            "category_id": found + 1,
            "score": score,
            **(
                {"bbox": box} if task == "bbox" else {"segmentation": rle_of(mask_of(clipped(box)))}
            ),
        }
        for image, found, box, score in detections
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats < 0, np.nan, 100 * evaluation.stats)


@pytest.fixture(scope="module")
def by_us(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(folder / "image.png")

    def by_us(content, detections, fast):
        name = f"test_{uuid.uuid4().hex}"
        json_file = folder / f"{name}.json"
        json_file.write_text(json.dumps(content))
        register_coco_json(name, json_file, folder)
        cfg = get_cfg()
        cfg.DATASETS.CROWDS_ARE_OBJECTS = False
        set_reading(cfg, [name])
        try:
            evaluator = SCNetCOCOEvaluator(name, distributed=False, use_fast_impl=fast)
            evaluator.reset()
            for k, record in enumerate(DatasetCatalog.get(name)):
                found = [x for x in detections if x[0] == k]
                boxes = torch.tensor([x[2] for x in found], dtype=torch.float64).reshape(-1, 4)
                boxes[:, 2:] += boxes[:, :2]
                masks = [torch.from_numpy(mask_of(clipped(x[2]))).bool() for x in found]
                instances = Instances((SIDE, SIDE))
                instances.pred_boxes = Boxes(boxes)
                instances.pred_masks = (
                    torch.stack(masks) if masks else torch.zeros(0, SIDE, SIDE).bool()
                )
                instances.pred_classes = torch.tensor([x[1] for x in found], dtype=torch.int64)
                instances.scores = torch.tensor([x[3] for x in found], dtype=torch.float64)
                evaluator.process([record], [{"instances": instances}])
            return evaluator.evaluate()
        finally:
            json_file.unlink()
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)

    return by_us


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
)
@given(
    st.integers(0, 2**32 - 1),
    st.fixed_dictionaries({part: st.sampled_from(list(IDS)) for part in ("images", "categories")}),
    st.booleans(),
)
def test_they_are_those_of_plain_data(by_us, seed, kinds, crowded):
    (plain, odd), detections = make_case(seed, kinds, crowded)
    if not plain["annotations"] or not detections:
        return
    found = {fast: by_us(odd, detections, fast) for fast in (True, False)}
    for task in ("bbox", "segm"):
        expected = by_pycocotools(plain, detections, task)
        for metrics in found.values():
            measures = [metrics[task][name] for name in MEASURES]
            np.testing.assert_allclose(measures, expected, rtol=0, atol=1e-6)
