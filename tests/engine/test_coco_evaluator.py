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
from scnet.config import get_cfg
from scnet.data.datasets.catalog import set_reading
from scnet.data.own_data import register_datasets
from scnet.engine.evaluation.coco_evaluator import RECALLS, SCNetCOCOEvaluator
from scnet.engine.trainer import Trainer

pytestmark = pytest.mark.slow
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

    def evaluate(
        content, predictions, masks=True, crowds_are_objects=None, img_ids=None, **options
    ):
        """Metrics of predictions on a json of this content; pycocotools must give the same.

        Returns:
            the metrics. ``evaluate.results`` is what is written for pycocotools.
        """
        name = f"test_{uuid.uuid4().hex}"
        json_file = folder / f"{name}.json"
        json_file.write_text(json.dumps(content))
        register_coco_json(name, json_file, folder)
        cfg = get_cfg()
        cfg.DATASETS.CROWDS_ARE_OBJECTS = crowds_are_objects
        set_reading(cfg, [name])
        options = {"distributed": False, "output_dir": folder / name, **options}
        try:
            records, both = DatasetCatalog.get(name), []
            for fast in (True, False):
                evaluator = SCNetCOCOEvaluator(name, use_fast_impl=fast, **options)
                evaluator.reset()
                for record in records:
                    found = [p for p in predictions if p[0] == record["image_id"]]
                    instances = make_predictions(found)
                    if not masks:
                        instances.remove("pred_masks")
                    evaluator.process([record], [{"instances": instances}])
                both.append(evaluator.evaluate(img_ids))
            for task, metrics in both[1].items():
                assert both[0][task] == pytest.approx(metrics, nan_ok=True, rel=1e-9)
            written = folder / name / "coco_instances_results.json"
            evaluate.results = json.loads(written.read_text())
            return both[0]
        finally:
            json_file.unlink()
            if name in DatasetCatalog:
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)

    return evaluate


def perfect(content):
    """Each object as its own prediction."""
    classes = {x: k for k, x in enumerate(sorted(c["id"] for c in content["categories"]))}
    return [(a["image_id"], classes[a["category_id"]], a["bbox"]) for a in content["annotations"]]


def one_class(boxes, form="polygon", **keys):
    """A data set of one image with an object of one class in each of the boxes."""
    return {
        "images": [{"id": 1, "file_name": "image.png", "height": SIDE, "width": SIDE}],
        "annotations": [
            {
                "id": k,
                "image_id": 1,
                "category_id": 1,
                "bbox": box,
                "segmentation": segment(box, form),
                **keys,
            }
            for k, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }


def squares(count, side=8, **keys):
    """As :func:`one_class`, with this many boxes side by side."""
    columns = SIDE // side
    boxes = [[k % columns * side, k // columns * side, side - 1, side - 1] for k in range(count)]
    return one_class(boxes, **keys)


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
    content = one_class(boxes, "rle")
    results = evaluate(content, [(1, 0, box) for box in boxes])
    assert results["bbox"]["AP"] == results["segm"]["AP"] == pytest.approx(100)


# Ids that NumPy or faster-coco-eval cannot hold, or that only differ where a float64 does not.
WHOLE = st.integers(-(2**70), 2**70)
CLOSE = st.integers(2**53, 2**53 + 9)
UNSIGNED = st.integers(2**64 - 9, 2**64 - 1)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
IDS = st.sampled_from([WHOLE, CLOSE, UNSIGNED, TEXT])


@properties
@given(drawn=data_sets(), data=st.data())
def test_whatever_the_ids_the_metrics_are_the_same_and_the_ids_come_back(evaluate, drawn, data):
    small, predictions = drawn
    # In the same order, which is that of equal scores and that of the classes.
    images, categories = (
        sorted(data.draw(st.lists(data.draw(IDS), min_size=2, max_size=2, unique=True)))
        for _ in range(2)
    )
    numbers = data.draw(IDS)
    count = len(small["annotations"])
    numbers = data.draw(st.lists(numbers, min_size=count, max_size=count, unique=True))
    content = copy.deepcopy(small)
    for x in content["images"]:
        x["id"] = images[x["id"] - 1]
    for x in content["categories"]:
        x["id"] = categories[x["id"] - 1]
    for number, x in zip(numbers, content["annotations"]):
        x["id"] = number
        x["image_id"] = images[x["image_id"] - 1]
        x["category_id"] = categories[x["category_id"] - 1]
    renamed = [(images[image - 1], k, box) for image, k, box in predictions]
    results = evaluate(content, renamed)
    given_back = {(x["image_id"], x["category_id"]) for x in evaluate.results}
    check_same(results, evaluate(small, predictions))
    assert given_back == {(image, categories[k]) for image, k, _ in renamed}


def test_images_may_be_chosen_by_their_ids(evaluate):
    content = squares(4)
    content["images"] = [{**content["images"][0], "id": x} for x in ("found", "not found")]
    for k, annotation in enumerate(content["annotations"]):
        annotation["image_id"] = "found" if k < 2 else "not found"
    found = perfect(content)[:2]
    assert 40 < evaluate(content, found)["segm"]["AP"] < 60
    assert evaluate(content, found, img_ids=["found"])["segm"]["AP"] == pytest.approx(100)


AREAS = st.sampled_from([-400, 0, None, "400", 1e300, float("inf"), float("nan"), 3, 9999, True])


@properties
@given(drawn=data_sets(), data=st.data())
def test_an_area_that_cannot_be_is_that_of_the_mask(evaluate, drawn, data):
    """Boxes have at least 100 pixels here and at most 128 x 128: 3 fits none, 9999 fits some."""
    complete, predictions = drawn
    content = copy.deepcopy(complete)
    for annotation in content["annotations"]:
        pixels = annotation["area"]
        annotation["area"] = data.draw(AREAS)
        fits = {3: pixels <= 106, 9999: 2 * pixels + 100 >= 9999}
        if fits.get(annotation["area"]):
            annotation["area"] = pixels
    check_same(evaluate(content, predictions), evaluate(complete, predictions))


def test_an_area_that_fits_the_mask_is_kept(evaluate):
    """It decides whether an object is small: 1024 pixels are the limit."""
    content = squares(2, 34)  # boxes of 33 x 33 pixels
    for area, size in ((1000, "APs"), (1089, "APm"), (None, "APm")):
        for annotation in content["annotations"]:
            annotation["area"] = area
        results = evaluate(content, perfect(content))["segm"]
        assert results[size] == pytest.approx(100)
        assert np.isnan(results["APm" if size == "APs" else "APs"])


def test_more_objects_than_coco_counts_by_default(evaluate):
    content = squares(225)
    metrics = [evaluate(content, perfect(content), max_dets_per_image=n) for n in (None, 300)]
    before, after = (x["segm"] for x in metrics)
    assert before["AR"] == pytest.approx(100 * 100 / 225) and before["AP"] == pytest.approx(
        4500 / 101
    )
    assert after["AP"] == after["AR"] == pytest.approx(100)
    assert before["AR10"] == after["AR10"] == pytest.approx(100 * 10 / 225)


def test_the_limit_is_that_of_the_model_but_no_lower_than_coco_has_it(coco_set, tiny_cfg):
    tiny_cfg.DATASETS.TEST_JSON = (str(coco_set.json_file),)
    tiny_cfg.DATASETS.TEST_IMAGES = (str(coco_set.images),)
    register_datasets(tiny_cfg)
    (name,) = tiny_cfg.DATASETS.TEST
    for detections, limit in ((20, 100), (100, 100), (300, 300)):
        tiny_cfg.TEST.DETECTIONS_PER_IMAGE = detections
        evaluator = Trainer.build_evaluator(tiny_cfg, name)
        assert evaluator._max_dets_per_image == [1, 10, limit]


def test_crowds_that_are_objects_are_counted(evaluate):
    content = squares(20)
    objects = evaluate(content, perfect(content)[:5])
    painted = squares(20, iscrowd=1)
    for annotation in painted["annotations"]:
        annotation["segmentation"] = segment(annotation["bbox"], "rle")
    check_same(evaluate(painted, perfect(painted)[:5], crowds_are_objects=True), objects)
    with pytest.raises(ValueError, match="20 of 20 of the class 'cat'.*CROWDS_ARE_OBJECTS True"):
        evaluate(painted, [])
    ignored = evaluate(painted, perfect(painted)[:5], crowds_are_objects=False)
    assert np.isnan(ignored["segm"]["AP"])


def test_average_recall_and_the_ap50_of_each_class(evaluate, caplog):
    """Of the cats, 3 of 4 are found exactly; of the dogs, 1 of 2, with an IoU of 0.6."""
    content = squares(6, 20)
    content["categories"].append({"id": 2, "name": "dog"})
    for annotation in content["annotations"][4:]:
        annotation["category_id"] = 2
        annotation["bbox"][2:] = [10, 10]
        annotation["segmentation"] = segment(annotation["bbox"], "polygon")
    found = copy.deepcopy(perfect(content)[:5])
    found.pop(0)
    found[-1][2][2:] = [10, 6]
    with caplog.at_level("INFO"):
        metrics = evaluate(content, found)["segm"]
    assert metrics["AP50-cat"] == pytest.approx(100 * 76 / 101)  # recalls 0, 0.01, ... 0.75
    assert metrics["AP50-dog"] == pytest.approx(100 * 51 / 101)
    dog = 50 * 0.3  # for the IoU 0.5, 0.55 and 0.6 of ten
    assert metrics["AR"] == metrics["ARs"] == metrics["AR10"] == pytest.approx((75 + dog) / 2)
    assert metrics["AR1"] == pytest.approx((25 + dog) / 2)
    assert np.isnan(metrics["ARm"]) and np.isnan(metrics["ARl"])
    assert "AP50" in caplog.text and "Average recall for segm" in caplog.text


def test_without_detections_there_is_no_recall(evaluate):
    assert set(RECALLS) <= evaluate(squares(1), [])["bbox"].keys()
