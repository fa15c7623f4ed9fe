"""What COCO's evaluation knows about each class: AP and recall, curves, and the best threshold.

Shapes: T = 10 thresholds of the IoU from 0.5 to 0.95, R = 101 recalls from 0 to 1, K classes, A = 4
sizes of objects (all, small, medium, large), M = 3 numbers of detections per image.
"""

from dataclasses import dataclass, field
from typing import Dict, List, Sequence, Tuple

import numpy as np

SIZES = {"": 0, "s": 1, "m": 2, "l": 3}  # the ends of COCO's names of metrics, and their place in A
IOU_75 = 5  # the place of 0.75 in T
RECALLS = np.linspace(0, 1, 101)
DEFAULT_THRESHOLD = 0.5  # where no detection is right, so that no threshold is best


@dataclass
class Curve:
    """Precision, recall and F1 of a class at an IoU of 0.5, from high scores to low ones.

    They are COCO's: at each recall the best precision that any lower score reaches. So F1 is exact
    where it is highest, up to the step of the recall, 0.01; elsewhere it may be a little high.

    Attributes:
        recall, precision, scores: (N,) of the recalls that are reached; detections from the score
            on give this recall and precision.
    """

    recall: np.ndarray = field(default_factory=lambda: np.zeros(0))
    precision: np.ndarray = field(default_factory=lambda: np.zeros(0))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def f1(self) -> np.ndarray:
        """(N,) the harmonic mean of precision and recall."""
        total = np.maximum(self.precision + self.recall, 1e-12)
        return 2 * self.precision * self.recall / total

    def f1_at(self, thresholds: np.ndarray) -> np.ndarray:
        """F1 of the detections with a score of each threshold or more; 0 if there are none."""
        last = np.searchsorted(-self.scores, -thresholds, side="right")
        return np.concatenate([[0.0], self.f1])[last]


@dataclass
class ClassMeasures:
    """The numbers of a class.

    Attributes:
        name: of the class.
        metrics: COCO's, by name ("AP", "AP50", "APs", "AR", ...) in percent; NaN where the class
            has no such objects.
        curve: empty if the class has no objects or none was found.
        threshold, f1, precision, recall: the score with the highest F1, and what detections from
            that score on have; NaN if the curve is empty.
    """

    name: str
    metrics: Dict[str, float]
    curve: Curve = field(default_factory=Curve)
    threshold: float = np.nan
    f1: float = np.nan
    precision: float = np.nan
    recall: float = np.nan


def measure_classes(arrays: Dict[str, np.ndarray], names: Sequence[str]) -> List[ClassMeasures]:
    """Read the measures of all classes from the result of an evaluation.

    Args:
        arrays: ``eval`` of a ``COCOeval``: "precision" (T, R, K, A, M), "scores" of the same shape,
            and "recall" (T, K, A, M); -1 where there are no objects.
        names: of the K classes.
    """
    found = []
    for k, name in enumerate(names):
        precision, recall = arrays["precision"][:, :, k, :, -1], arrays["recall"][:, k, :, -1]
        metrics = {"AP": precision[:, :, 0], "AP50": precision[0, :, 0]}
        metrics["AP75"] = precision[IOU_75, :, 0]
        metrics.update({f"AP{x}": precision[:, :, a] for x, a in SIZES.items() if x})
        metrics.update({f"AR{x}": recall[:, a] for x, a in SIZES.items()})
        of_class = ClassMeasures(name, {key: _mean(x) for key, x in metrics.items()})
        found.append(of_class)
        reached = precision[0, :, 0] > 0  # of recalls that are not reached it is 0
        if not reached.any():
            continue
        scores = arrays["scores"][0, :, k, 0, -1]
        curve = Curve(RECALLS[reached], precision[0, reached, 0], scores[reached])
        best = int(curve.f1.argmax())
        of_class.curve = curve
        of_class.threshold, of_class.f1 = float(curve.scores[best]), float(curve.f1[best])
        of_class.precision, of_class.recall = map(float, (curve.precision[best], RECALLS[best]))
    return found


def mean_f1(classes: Sequence[ClassMeasures]) -> Tuple[np.ndarray, np.ndarray]:
    """The mean F1 of the classes that have objects, if all have one threshold.

    Returns:
        thresholds (N,), rising, and the mean F1 at each; empty if nothing right was found.
    """
    curves = _of_classes_with_objects(classes)
    thresholds = np.unique(np.concatenate([np.zeros(0), *(x.scores for x in curves)]))
    f1 = np.zeros((max(1, len(curves)), len(thresholds)))
    for row, curve in zip(f1, curves):
        row[:] = curve.f1_at(thresholds)
    return thresholds, f1.mean(axis=0)


def best_threshold(classes: Sequence[ClassMeasures]) -> float:
    """The score with the highest mean F1; 0.5 if nothing right was found."""
    thresholds, f1 = mean_f1(classes)
    return float(thresholds[f1.argmax()]) if len(thresholds) else DEFAULT_THRESHOLD


def mean_precision(classes: Sequence[ClassMeasures]) -> np.ndarray:
    """The mean of the precisions (R,) at an IoU of 0.5, of the classes that have objects."""
    curves = _of_classes_with_objects(classes)
    precision = np.zeros((max(1, len(curves)), len(RECALLS)))
    for row, curve in zip(precision, curves):
        row[: len(curve.precision)] = curve.precision
    return precision.mean(axis=0)


def _of_classes_with_objects(classes: Sequence[ClassMeasures]) -> List[Curve]:
    return [x.curve for x in classes if not np.isnan(x.metrics["AP"])]


def _mean(values: np.ndarray) -> float:
    """The mean in percent of what could be computed; NaN if nothing could."""
    known = values[values > -1]
    return 100 * float(known.mean()) if known.size else float("nan")
