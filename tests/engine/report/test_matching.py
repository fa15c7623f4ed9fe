"""Which detection is taken for which object, and which images are the worst and the best."""

import numpy as np
import pytest
from hypothesis import given, settings

from report_sets import NAMES, NOWHERE, OTHER_CLASS, TRUE, make_set, outcomes, polygon
from scnet.engine.evaluation.ground_truth import GroundTruth
from scnet.engine.report.collect import PICTURES, choose
from scnet.engine.report.matching import ImageOutcome, match


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
