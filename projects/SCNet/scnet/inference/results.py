"""Reading the json files of results that `scnet predict` writes."""

import json
from typing import Tuple

from pycocotools.coco import COCO

from ..data.clean_annotations import clean_annotations
from ..data.content import read_content


def load_results(annotations: str, results: str) -> Tuple[COCO, COCO]:
    """Read annotations and results as pycocotools' ``COCOeval`` takes them.

    It is ``COCO.loadRes``, and works where that or ``COCOeval`` fails: if nothing was found, and
    if annotations are not as :func:`clean_annotations` makes them.

    Args:
        annotations: a COCO json.
        results: a json of :class:`scnet.inference.coco_results.CocoResults`, with the ids of
            ``annotations``.

    Returns:
        the annotations and the results.

    Raises:
        ValueError: a result is for an image that the annotations do not have.
    """
    dataset, _ = read_content(annotations)
    truth = COCO()
    truth.dataset = {**dataset, "annotations": clean_annotations(dataset)[0]}
    truth.createIndex()
    with open(results, encoding="utf-8") as f:
        content = json.load(f)
    unknown = [x for x in content if x["image_id"] not in truth.imgs]
    if unknown:
        raise ValueError(
            f"'{results}' has the image_id {unknown[0]['image_id']}, which '{annotations}' does "
            "not have. Predict with --annotations, which takes over the ids."
        )
    if content:
        return truth, truth.loadRes(content)
    found = COCO()
    found.dataset = {key: truth.dataset[key] for key in ("images", "categories")}
    found.dataset["annotations"] = []
    found.createIndex()
    return truth, found
