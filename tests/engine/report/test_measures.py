"""The numbers of the classes, and the best thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings

from report_sets import NAMES, NEAR, OTHER_CLASS, TRUE, make_set, outcomes, write_set
from scnet.config import get_cfg
from scnet.data.own_data import register_datasets
from scnet.engine.report.measures import Curve, measure_classes
from scnet.engine.report.page import METRICS
from scnet.engine.report.results_file import evaluate_file


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
