"""Everything that the report shows of one data set."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from detectron2.config import CfgNode

from ..evaluation.coco_evaluator import SCNetCOCOEvaluator
from .matching import ImageOutcome, Matches, match
from .measures import ClassMeasures, best_threshold, measure_classes
from .pictures import Pair, draw_pair

TITLES = {"segm": "Masks", "bbox": "Boxes"}  # the first that was measured is looked at more closely
PICTURES = 4  # of the worst images, and of the best


@dataclass
class Task:
    """The measures of masks or of boxes.

    Attributes:
        name: "segm" or "bbox".
        title: what these are.
        metrics: of all classes, in percent, as COCO names them.
        classes: the measures of each.
        threshold: the score with the best mean F1.
    """

    name: str
    title: str
    metrics: Dict[str, float]
    classes: List[ClassMeasures]
    threshold: float


@dataclass
class DataSet:
    """The evaluation on one data set.

    Attributes:
        name: of the data set.
        class_names: of its K classes.
        objects: K numbers of objects that are no crowds.
        images: the number of images.
        detections: the number of all detections.
        tasks: what was measured, masks first.
        matches: of masks if there are any, else of boxes.
        worst, best: images, the worst and the best first.
    """

    name: str
    class_names: List[str]
    objects: List[int]
    images: int
    detections: int
    tasks: List[Task]
    matches: Matches
    worst: List[Pair]
    best: List[Pair]


def collect(
    name: str,
    evaluator: SCNetCOCOEvaluator,
    metrics: Dict[str, Dict[str, float]],
    cfg: CfgNode,
) -> DataSet:
    """Take the numbers from an evaluator that has evaluated, and draw images.

    Args:
        name: of the data set.
        evaluator: in the process that has the detections of all.
        metrics: what it returned.
        cfg: says what the images are like.
    """
    truth = evaluator.ground_truth
    class_names = [x["name"] for x in sorted(truth.dataset["categories"], key=lambda x: x["id"])]
    tasks = [
        _measure(task, title, metrics[task], evaluator.measured.get(task), class_names)
        for task, title in TITLES.items()
        if task in metrics
    ]
    main = tasks[0]
    matches = match(truth, evaluator.detections, main.name, main.threshold)
    detections = defaultdict(list)
    for x in evaluator.detections:
        if x["score"] >= main.threshold:
            detections[truth.image_numbers[x["image_id"]]].append(
                {**x, "category_id": truth.category_numbers[x["category_id"]]}
            )

    def draw(outcome: ImageOutcome) -> Pair:
        return draw_pair(
            outcome,
            truth.imgs[outcome.image],
            evaluator.image_root,
            truth.imgToAnns[outcome.image],
            detections[outcome.image],
            class_names,
            cfg,
        )

    worst, best = choose(matches.images)
    counts = Counter(x["category_id"] for x in truth.anns.values() if not x["iscrowd"])
    return DataSet(
        name,
        class_names,
        [counts[k] for k in range(1, len(class_names) + 1)],
        len(truth.imgs),
        len(evaluator.detections),
        tasks,
        matches,
        list(map(draw, worst)),
        list(map(draw, best)),
    )


def _measure(
    name: str, title: str, metrics: Dict[str, float], arrays: Optional[Dict], class_names: List[str]
) -> Task:
    """Measure the classes; without arrays nothing was found, and nothing is known of any."""
    classes = measure_classes(arrays, class_names) if arrays else []
    return Task(name, title, metrics, classes, best_threshold(classes))


def choose(outcomes: List[ImageOutcome]) -> Tuple[List[ImageOutcome], List[ImageOutcome]]:
    """Choose the worst and the best images by their F1; of few, no image is both.

    Of images that are equally bad, those with most mistakes come first; of those that are equally
    good, those with most objects.
    """
    rising = sorted(outcomes, key=lambda x: (x.f1, -x.missed - x.wrong, x.found, -x.image))
    count = min(PICTURES, (len(rising) + 1) // 2)
    return rising[:count], rising[count:][: -PICTURES - 1 : -1]
