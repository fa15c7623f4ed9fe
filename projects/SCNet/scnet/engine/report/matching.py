"""Which detection is which object: what is confused with what, and how well each image went."""

import contextlib
import io
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

IOU = 0.5


class ImageOutcome(NamedTuple):
    """How well one image went.

    Attributes:
        image: the number of the image in the ground truth.
        found: objects that a detection of their class covers.
        missed: objects that none does.
        wrong: detections that cover no object, or one of another class.
    """

    image: int
    found: int
    missed: int
    wrong: int

    @property
    def f1(self) -> float:
        """The share of what is right, from 0 to 1."""
        return 2 * self.found / (2 * self.found + self.missed + self.wrong)


@dataclass
class Matches:
    """Objects and detections from a score on, paired.

    Attributes:
        threshold: the score.
        confusion: int (K + 1, K + 1), objects by their class (row) and that of their detection
            (column). The last column counts objects without detection, the last row detections
            without object.
        images: those with objects or detections.
    """

    threshold: float
    confusion: np.ndarray
    images: List[ImageOutcome]


def match(truth: COCO, detections: Sequence[Dict], task: str, threshold: float) -> Matches:
    """Pair each object with the detection that covers it, whatever the classes are.

    It is COCO's matching at an IoU of 0.5 without classes: detections choose by falling score, and
    an object is chosen once. Crowds are no objects, and what covers them is not wrong.

    Args:
        truth: objects, whose categories are numbered from 1 on.
        detections: in COCO's result format.
        task: "bbox" or "segm".
        threshold: the lowest score that takes part.
    """
    taking_part = [x for x in detections if x["score"] >= threshold]
    classes = len(truth.cats)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, _load(truth, taking_part), task)
        evaluation.params.useCats = 0
        evaluation.params.iouThrs = np.array([IOU])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [max(1, len(taking_part))]
        evaluation.evaluate()

    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    images = []
    for image in filter(None, evaluation.evalImgs):
        of_image = np.zeros_like(confusion)
        of_objects, of_detections = (
            [api.anns[x]["category_id"] - 1 for x in image[ids]]
            for api, ids in ((truth, "gtIds"), (evaluation.cocoDt, "dtIds"))
        )
        detected = dict(zip(image["dtIds"], of_detections))
        for k, chosen, ignored in zip(of_objects, image["gtMatches"][0], image["gtIgnore"]):
            if not ignored:
                of_image[k, detected.get(int(chosen), classes)] += 1
        for k, chosen in zip(of_detections, image["dtMatches"][0]):
            if not chosen:
                of_image[classes, k] += 1
        confusion += of_image
        found = int(of_image.diagonal()[:classes].sum())
        missed = int(of_image[:classes].sum()) - found
        wrong = int(of_image[:, :classes].sum()) - found
        if found + missed + wrong:
            images.append(ImageOutcome(image["image_id"], found, missed, wrong))
    return Matches(threshold, confusion, images)


def _load(truth: COCO, detections: List[Dict]) -> COCO:
    """``COCO.loadRes``, which fails if nothing was found."""
    if detections:
        return truth.loadRes(detections)
    nothing = COCO()
    nothing.dataset = {"images": truth.dataset["images"], "annotations": [], "categories": []}
    nothing.createIndex()
    return nothing
