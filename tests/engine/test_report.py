"""The report of an evaluation: its numbers, what is in the page, and when it is written."""

import json
import random
import re
import shutil
import sys
from base64 import b64decode
from html import escape

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scnet.config import get_cfg
from scnet.data.own_data import register_datasets
from scnet.engine.evaluation.ground_truth import GroundTruth
from scnet.engine.report.collect import PICTURES, choose
from scnet.engine.report.history import POINTS, Series, read_history, thinned, with_last
from scnet.engine.report.matching import ImageOutcome, match
from scnet.engine.report.measures import Curve, measure_classes
from scnet.engine.report.page import METRICS
from scnet.engine.report.results_file import evaluate_file, read_results
from scnet.engine.report.write import report_results
from scnet_tools import evaluate

SIDE = 200
NAMES = ("<img src=nowhere.png onerror=document.title='run'>", "<script>run()</script>", "$a_{&b")
TRUE, NEAR, OTHER_CLASS, NOWHERE = "true", "near", "other class", "nowhere"


def place(number):
    """A box x, y, w, h; those of different numbers do not touch. They are of three sizes."""
    x, y = [(0, 0), (100, 0), (0, 100)][number % 3]
    side = [99, 50, 20][number % 3]
    return [x, y, side, side]


def polygon(box):
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def make_set(outcomes):
    """A json and detections: outcomes[i][j] = (class, what was found, its score or None).

    Image i has an object at each place j, and there or nowhere else a detection.
    """
    content = {
        "images": [
            {"id": 10 * i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE}
            for i in range(len(outcomes))
        ],
        "categories": [{"id": 5 * k, "name": name} for k, name in enumerate(NAMES)],
        "annotations": [],
    }
    detections = []
    for i, of_image in enumerate(outcomes):
        for j, (k, kind, score) in enumerate(of_image):
            box = place(j)
            shared = {"image_id": 10 * i, "category_id": 5 * k}
            content["annotations"].append(
                {
                    **shared,
                    "id": len(content["annotations"]) + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "segmentation": polygon(box),
                }
            )
            if score is not None:
                if kind == NEAR:  # an IoU of 0.72
                    box = [*box[:2], 0.72 * box[2], box[3]]
                shared["category_id"] = 5 * ((k + (kind == OTHER_CLASS)) % len(NAMES))
                box = [150, 150, 40, 40] if kind == NOWHERE else box
                detections.append({**shared, "bbox": box, "segmentation": polygon(box)})
                detections[-1]["score"] = score
    return content, detections


outcomes = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from([TRUE, NEAR, OTHER_CLASS, NOWHERE]),
            st.none() | st.integers(1, 99).map(lambda x: x / 100),
        ),
        max_size=3,
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The folder of 0.png to 5.png."""
    folder = tmp_path_factory.mktemp("images")
    for k in range(6):
        pixels = np.random.default_rng(k).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


def write_set(folder, content, detections):
    """Write set.json and results.json."""
    (folder / "set.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(detections))


@pytest.fixture(scope="module")
def example(images, tmp_path_factory):
    """A folder with the images, set.json and results.json; the names of the classes are html."""
    folder = tmp_path_factory.mktemp("example") / "set"
    shutil.copytree(images, folder)
    content, detections = make_set(
        [
            [(0, TRUE, 0.9), (1, TRUE, 0.8), (2, TRUE, 0.7)],
            [(0, TRUE, 0.6), (1, OTHER_CLASS, 0.95)],
            [(1, NOWHERE, 0.5), (2, TRUE, None)],
            [(2, TRUE, 0.4)],
            [],
        ]
    )
    below = {"image_id": 30, "category_id": 10, "bbox": [150, 150, 40, 40], "score": 0.01}
    detections.append({**below, "segmentation": polygon(below["bbox"])})
    write_set(folder, content, detections)
    damaged = folder / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    return folder


def report(folder, name="report.html", **options):
    """Write the report of set.json and results.json; returns the metrics."""
    paths = [str(folder / x) for x in ("set.json", "", "results.json", name)]
    return report_results(*paths, **options)


@pytest.fixture(scope="module")
def metrics(example):
    """Those of the example, whose report is written."""
    return report(example)


def match_all(content, detections, threshold=0.0, task="segm"):
    truth = GroundTruth(content)
    return match(truth, detections, task, threshold)


def test_what_is_taken_for_what():
    content, detections = make_set(
        [
            [(0, TRUE, 0.9), (1, OTHER_CLASS, 0.8), (2, TRUE, None)],
            [(1, NOWHERE, 0.7), (1, TRUE, 0.6), (2, TRUE, 0.2)],
        ]
    )
    content["annotations"].append(  # what lies in a crowd is not wrong
        {**content["annotations"][0], "image_id": 10, "bbox": [150, 150, 50, 50], "iscrowd": 1}
    )
    content["annotations"][-1]["segmentation"] = polygon([150, 150, 50, 50])
    found = match_all(content, detections, threshold=0.5)
    expected = np.zeros((4, 4), int)
    expected[0, 0] = expected[1, 2] = expected[2, 3] = 1  # right, wrong class, missed
    expected[1, 3] = expected[1, 1] = 1  # missed, as its detection is elsewhere; and right
    expected[2, 3] += 1  # its detection is below the threshold
    np.testing.assert_array_equal(found.confusion, expected)
    assert found.images == [ImageOutcome(1, 1, 2, 1), ImageOutcome(2, 1, 2, 0)]
    content["annotations"].pop()
    expected[3, 1] = 1  # without the crowd no object is there
    found = match_all(content, detections, threshold=0.5)
    np.testing.assert_array_equal(found.confusion, expected)
    assert found.images[1] == ImageOutcome(2, 1, 2, 1)
    assert found.images[1].f1 == pytest.approx(2 / 5)


@settings(deadline=None, max_examples=20)
@given(outcomes)
def test_the_matrix_is_that_of_faster_coco_eval(outcomes):
    display = pytest.importorskip("faster_coco_eval.extra.display")
    faster = pytest.importorskip("faster_coco_eval")
    content, detections = make_set(outcomes)
    if not (detections and content["annotations"]):
        return
    found = match_all(content, detections, threshold=0.3, task="bbox").confusion
    truth = faster.COCO(GroundTruth(content).dataset)
    results = [
        {**x, "image_id": x["image_id"] // 10 + 1, "category_id": x["category_id"] // 5 + 1}
        for x in detections
    ]
    options = {"iouType": "bbox", "min_score": 0.3, "iou_tresh": 0.5}
    matrix = display.PreviewResults(truth, truth.loadRes(results), **options)
    expected = matrix.compute_confusion_matrix()
    classes = len(NAMES)
    np.testing.assert_array_equal(found[:classes, :classes], expected[:, :classes])
    np.testing.assert_array_equal(found[classes, :classes], expected[:, classes])
    np.testing.assert_array_equal(found[:classes, classes], expected[:, classes + 1])


def test_nothing_is_matched_where_nothing_is():
    content, _ = make_set([[(0, TRUE, None), (1, TRUE, None)], []])
    found = match_all(content, [])
    assert found.images == [ImageOutcome(1, 0, 2, 0)] and found.images[0].f1 == 0
    assert found.confusion.sum() == 2 and found.confusion[0, 3] == found.confusion[1, 3] == 1


def best_by_counting(outcomes, k):
    """Of class k: the best F1, and all thresholds that give it, by going through them."""
    objects = sum(x[0] == k for of_image in outcomes for x in of_image)
    found = [
        (score, kind in (TRUE, NEAR))
        for of_image in outcomes
        for of_object, kind, score in of_image
        if score is not None and (of_object + (kind == OTHER_CLASS)) % len(NAMES) == k
    ]
    f1 = {}
    for threshold in {score for score, _ in found}:
        chosen = [right for score, right in found if score >= threshold]
        f1[threshold] = 2 * sum(chosen) / (len(chosen) + objects)
    best = max(f1.values(), default=0)
    return best, [x for x in f1 if f1[x] > best - 1e-9]


@settings(deadline=None, max_examples=25)
@given(outcomes)
def test_numbers_and_thresholds(images, tmp_path_factory, outcomes):
    """They are COCO's, and the best threshold is the one that counting finds."""
    scores = [x[2] for of_image in outcomes for x in of_image if x[2] is not None]
    content, detections = make_set(outcomes)
    if not (detections and content["annotations"]) or len(set(scores)) < len(scores):
        return
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, content, detections)
    cfg = get_cfg()
    cfg.DATASETS.TEST_JSON, cfg.DATASETS.TEST_IMAGES = (str(folder / "set.json"),), (str(images),)
    register_datasets(cfg, ("TEST",))
    evaluator, metrics = evaluate_file(cfg, str(folder / "results.json"))
    metrics = metrics["segm"]
    classes = measure_classes(evaluator.measured["segm"], NAMES)
    for name in METRICS:
        of_classes = [x.metrics[name] for x in classes]
        if np.isfinite(of_classes).any():
            assert np.nanmean(of_classes) == pytest.approx(metrics[name], abs=1e-9)
        else:
            assert np.isnan(metrics[name])
    for k, x in enumerate(classes):
        np.testing.assert_allclose(x.metrics["AP"], metrics[f"AP-{x.name}"])
        np.testing.assert_allclose(x.metrics["AP50"], metrics[f"AP50-{x.name}"])
        best, thresholds = best_by_counting(outcomes, k)
        if np.isnan(x.metrics["AP"]) or not best:
            assert np.isnan(x.threshold)
            continue
        # Recalls are steps of 0.01.
        assert best - 0.01 <= x.f1 <= best + 1e-9
        if len(thresholds) == 1:
            assert x.threshold == pytest.approx(thresholds[0])


def test_f1_at_thresholds():
    curve = Curve(np.array([0.0, 0.25, 0.5]), np.array([1.0, 1.0, 0.5]), np.array([0.9, 0.9, 0.4]))
    found = curve.f1_at(np.array([0.95, 0.9, 0.5, 0.4, 0.1]))
    np.testing.assert_allclose(found, [0, 0.4, 0.4, 0.5, 0.5])


def test_the_worst_and_the_best_images():
    """By F1; then the worst have most mistakes and the best most objects. None is both."""
    right = [ImageOutcome(k, k, 0, 0) for k in range(1, 7)]
    bad = [ImageOutcome(10, 0, 1, 0), ImageOutcome(11, 0, 3, 0), ImageOutcome(12, 1, 1, 0)]
    worst, best = choose(right + bad)
    assert [x.image for x in worst] == [11, 10, 12, 1]
    assert [x.image for x in best] == [6, 5, 4, 3]
    worst, best = choose(right[:3])
    assert [x.image for x in worst] == [1, 2] and [x.image for x in best] == [3]
    assert choose(right[:1]) == (right[:1], []) and choose([]) == ([], [])
    assert len(choose(right * 3)[0]) == PICTURES


def test_the_history_of_a_run(tmp_path):
    """Iterations that were trained again count once; half a last line is left out."""
    assert read_history(tmp_path) == {}
    lines = [
        {"iteration": 19, "total_loss": 5.0, "segm/AP": float("nan")},
        {"iteration": 39, "total_loss": 4.0},
        {"iteration": 19, "total_loss": 3.0},
        {"iteration": 20, "segm/AP": 1.5},
    ]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "metrics.json").write_text(text + '\n{"iteration": 59, "total_l')
    history = read_history(tmp_path)
    assert history.keys() == {"total_loss", "segm/AP"}
    assert history["total_loss"].iterations.tolist() == [19, 39]
    assert history["total_loss"].values.tolist() == [3.0, 4.0]
    history = with_last(history, 20, {"segm/AP": 2.5, "bbox/AP": 0.5, "segm/APl": float("nan")})
    assert history["segm/AP"].values.tolist() == [2.5]
    assert history["bbox/AP"].iterations.tolist() == [20] and "segm/APl" not in history
    (tmp_path / "metrics.json").write_text("half a l\n" + text)
    with pytest.raises(ValueError, match="Line 1 of '.*metrics.json' is no json"):
        read_history(tmp_path)


def test_long_curves_are_thinned():
    count = 10 * POINTS + 3
    series = Series(np.arange(count), np.linspace(0, 1, count))
    found = thinned(series)
    assert len(found.values) <= POINTS
    np.testing.assert_allclose(found.values, found.iterations / (count - 1))
    assert found.iterations[-1] > count - 1 - count / POINTS
    assert thinned(Series(*(x[:POINTS] for x in series))).values.shape == (POINTS,)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image_id": 7}, "has the image_id 7, which '.*' does not have"),
        ({"image_id": [10]}, "has the image_id"),
        ({"category_id": 1}, "has the category_id 1"),
        ({"score": None}, "has the score None, which is no number"),
        ({"score": float("nan")}, "has the score nan"),
        ({"bbox": [1, 2, 3]}, "has the bbox"),
        ({"bbox": [1, 2, -3, 4]}, "has the bbox"),
        ({"segmentation": {"size": [9, 9], "counts": "1"}}, "has a segmentation that is an RLE of"),
        ({"bbox": None, "segmentation": None}, "has neither 'bbox' nor 'segmentation'"),
        ({"segmentation": None}, "has not the entries"),
    ],
)
def test_mistakes_in_results(tmp_path, change, message):
    content, detections = make_set([[(0, TRUE, 0.9), (1, TRUE, 0.9)]])
    changed = {**detections[1], **change}
    detections[1] = {k: v for k, v in changed.items() if v is not None or k == "score"}
    (tmp_path / "results.json").write_text(json.dumps(detections))
    with pytest.raises(ValueError, match=f"Detection 1 .*results.json' {message}"):
        read_results(str(tmp_path / "results.json"), GroundTruth(content), "set.json")


@pytest.mark.parametrize(
    "text, message",
    [
        ("[", "is no json"),
        ('{"images": []}', "holds a dict, but results"),
        ("[3]", "Detection 0 .* is 3, but must be an object"),
    ],
)
def test_files_that_are_no_results(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(str(tmp_path / "results.json"), GroundTruth(make_set([[]])[0]), "set.json")


def cells(page, classes):
    """The text of the cells of a table, row by row."""
    table = re.search(rf'<table class="{classes}">(.*?)</table>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]


def test_the_page_has_the_numbers_of_the_evaluation(example, metrics):
    page = (example / "report.html").read_text()
    head, masks, boxes = cells(page, "overall")
    assert head[1:] == list(METRICS) and (masks[0], boxes[0]) == ("Masks", "Boxes")
    for row, task in ((masks, "segm"), (boxes, "bbox")):
        assert row[1:] == [f"{metrics[task][x]:.1f}" for x in METRICS]
    head, *rows = cells(page, "classes segm")
    for row, name, objects in zip(rows, NAMES, (2, 3, 3)):
        assert row[0] == escape(name, False).replace("'", "&#39;") and row[1] == str(objects)
        assert row[2] == f"{metrics['segm'][f'AP-{name}']:.1f}"
        assert row[3] == f"{metrics['segm'][f'AP50-{name}']:.1f}"
    matrix = cells(page, "matrix")
    assert [row[1:] for row in matrix[1:]] == [
        ["2", "", "", ""],
        ["", "1", "1", "1"],
        ["", "", "2", "1"],
        ["", "1", "", ""],
    ]


def test_pictures_and_those_that_cannot_be_drawn(example, metrics):
    page = (example / "report.html").read_text()
    captions = re.findall(
        r"<b>(\d.png)</b>: F1 ([\d.]+); (\d) found, (\d) missed, (\d) wrong", page
    )
    assert captions == [
        ("2.png", "0.00", "0", "2", "1"),
        ("1.png", "0.50", "1", "1", "1"),
        ("0.png", "1.00", "3", "0", "0"),
        ("3.png", "1.00", "1", "0", "0"),
    ]
    assert "It cannot be shown: Cannot read image" in page
    pictures = re.findall(r'<img src="data:image/jpeg;base64,(.*?)"', page)
    assert len(pictures) == 6
    labels, prediction, *_, last_labels, last_prediction = [
        cv2.imdecode(np.frombuffer(b64decode(x), np.uint8), 1) for x in pictures
    ]
    assert labels.shape == prediction.shape and labels.shape[0] >= 512
    # The second place has an object in both, the third in neither; the classes differ.
    changed = np.abs(labels.astype(int) - prediction).mean(axis=2)
    scale = len(labels) / SIDE
    inside, outside = (
        changed[int(y * scale) :][:50, int(x * scale) :][:, :50] for x, y in ((110, 10), (140, 140))
    )
    assert inside.mean() > 5 * outside.mean()
    # The last image has a detection below the threshold, which is not drawn.
    at = np.s_[int(150 * scale) : int(190 * scale), int(150 * scale) : int(190 * scale)]
    assert np.abs(last_labels[at].astype(int) - last_prediction[at]).mean() < 3


def test_a_report_has_no_chance_in_it(example, metrics):
    """And it leaves the random numbers as they are."""
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    report(example, "again.html")
    assert states == [
        *(random.getstate(), np.random.get_state()[1].tolist()),
        torch.get_rng_state().tolist(),
    ]
    assert (example / "again.html").read_text() == (example / "report.html").read_text()


def test_nothing_was_found(example, metrics):
    (example / "nothing.json").write_text("[]")
    paths = [str(example / x) for x in ("set.json", "", "nothing.json", "nothing.html")]
    report_results(*paths)
    page = (example / "nothing.html").read_text()
    assert "The model found nothing at all" in page and "<svg" not in page
    assert [row[1:] for row in cells(page, "matrix")[1:]][0] == ["", "", "", "2"]


def test_masks_that_are_compared_with_boxes(images, tmp_path):
    content, detections = make_set([[(0, TRUE, 0.9)]])
    del content["annotations"][0]["segmentation"]
    write_set(tmp_path, content, detections)
    shutil.copy(images / "0.png", tmp_path)
    with pytest.raises(ValueError, match="has masks, but 1 objects of .* have none"):
        report(tmp_path)
    del detections[0]["segmentation"]
    write_set(tmp_path, content, detections)
    assert report(tmp_path)["bbox"]["AP"] == pytest.approx(100)
    assert [row[0] for row in cells((tmp_path / "report.html").read_text(), "overall")[1:]] == [
        "Boxes"
    ]


def test_files_stay_as_they_are(example, metrics):
    before = (example / "set.json").read_bytes(), (example / "report.html").read_bytes()
    with pytest.raises(FileExistsError, match="report.html' .* add --overwrite"):
        report(example)
    with pytest.raises(ValueError, match="set.json' is read"):
        report(example, "set.json", overwrite=True)
    report(example, overwrite=True)
    assert before == ((example / "set.json").read_bytes(), (example / "report.html").read_bytes())


def test_the_tool(example, monkeypatch, capsys):
    def start(*words):
        data = ["--val-json", "set.json", "--val-images", "."]
        monkeypatch.setattr(sys, "argv", ["scnet eval", *data, "--output", "new", *words])
        evaluate.main()

    monkeypatch.chdir(example)
    start("--results", "results.json")
    assert "The report is new/report.html." in capsys.readouterr().out
    page = (example / "new/report.html").read_text()
    assert "eval&#39; --val-json set.json --val-images . --output new --results" in page
    for words, message in (
        (["--results", "gone.json", "--overwrite"], "'gone.json' does not exist"),
        (["--results", "results.json"], "report.html' exists already.*--overwrite"),
        (["--results", "results.json", "SEED", "1"], "has no config: leave out"),
        (["--results", "results.json", "--val-json", "b"], "needs --val-json .* each once"),
    ):
        with pytest.raises(SystemExit, match=f"^scnet eval: .*{message}"):
            start(*words)
    assert (example / "new/report.html").read_text() == page
