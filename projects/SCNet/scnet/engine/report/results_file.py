"""Evaluating detections of any program, from a file in COCO's result format."""

import json
from typing import Any, Dict, List, Optional, Set, Tuple

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ...data import masks
from ...data.coco_file import cut, is_id
from ...data.datasets.catalog import thing_classes
from ..evaluation.coco_evaluator import SCNetCOCOEvaluator
from ..evaluation.ground_truth import GroundTruth


def evaluate_file(
    cfg: CfgNode, results: str
) -> Tuple[SCNetCOCOEvaluator, Dict[str, Dict[str, float]]]:
    """Evaluate the detections of a file as those of a model are.

    Args:
        cfg: DATASETS.TEST names one data set.
        results: the file; see :func:`read_results`.

    Returns:
        the evaluator, and the metrics that it has returned.

    Raises:
        ValueError: the annotations have errors, the results have masks and an annotation has none,
            or see :func:`read_results`.
    """
    [name] = cfg.DATASETS.TEST
    thing_classes(name)  # loads the data set
    evaluator = SCNetCOCOEvaluator(name, distributed=False)
    evaluator.reset()
    truth, annotations = evaluator.ground_truth, MetadataCatalog.get(name).json_file
    found = read_results(results, truth, annotations)
    unmasked = sum(not x.get("segmentation") for x in truth.anns.values())
    if unmasked and any("segmentation" in x for x in found):
        raise ValueError(
            f"'{results}' has masks, but {unmasked} objects of '{annotations}' have none. Leave "
            "the entry 'segmentation' of the results out, to measure boxes alone."
        )
    evaluator.take(found)
    return evaluator, evaluator.evaluate()


def read_results(path: str, truth: GroundTruth, annotations: str) -> List[Dict]:
    """Read detections, and make sure that they are for these annotations.

    Each is an object with "image_id", "category_id", "score", and a "bbox" (x, y, width, height),
    a "segmentation" (an RLE, or polygons), or both. Other entries are left out.

    Args:
        path: of the file, a json list.
        truth: of the annotations.
        annotations: the file of these, for messages.

    Returns:
        the detections; segmentations are packed RLEs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not in this format, or names an image or a category that the annotations
            do not have; the message names the detection.
    """
    try:
        with open(path, encoding="utf-8") as f:
            content = json.load(f)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"'{path}' does not exist.") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"'{path}' is no json: {error}. Is it cut off?") from error
    if not isinstance(content, list):
        raise ValueError(
            f"'{path}' holds a {type(content).__name__}, but results in COCO's format are a list "
            "of detections."
        )
    sizes = {
        x: (truth.imgs[k]["height"], truth.imgs[k]["width"]) for x, k in truth.image_numbers.items()
    }
    found: List[Dict] = []
    for number, x in enumerate(content):
        mistake = _find_mistake(x, truth, annotations) or _find_mistake_of_shape(x, sizes)
        if not mistake and found and _shapes(x) != _shapes(found[0]):
            mistake = "has not the entries 'bbox' and 'segmentation' that the first has"
        if mistake:
            raise ValueError(f"Detection {number} (from 0) of '{path}' {mistake}.")
        detection = {key: x[key] for key in ("image_id", "category_id", "score")}
        if "bbox" in x:
            detection["bbox"] = x["bbox"]
        if "segmentation" in x:
            detection["segmentation"] = masks.to_rle(x["segmentation"], *sizes[x["image_id"]])
        found.append(detection)
    return found


def _shapes(x: Dict) -> Set[str]:
    return x.keys() & {"bbox", "segmentation"}


def _find_mistake(x: Any, truth: GroundTruth, annotations: str) -> Optional[str]:
    """Find what is wrong with the ids and the score; the end of a sentence, or None."""
    if not isinstance(x, dict):
        return f"is {cut(x)}, but must be an object with 'image_id', 'category_id' and 'score'"
    for key, known in (
        ("image_id", truth.image_numbers),
        ("category_id", truth.category_numbers),
    ):
        if key not in x:
            return f"has no '{key}'"
        if not is_id(x[key]) or x[key] not in known:
            return (
                f"has the {key} {cut(x[key])}, which '{annotations}' does not have. It must be "
                "the file that the results were made with"
            )
    if not masks.is_number(x.get("score")):
        return f"has the score {cut(x.get('score'))}, which is no number"
    return None


def _find_mistake_of_shape(x: Dict, sizes: Dict) -> Optional[str]:
    """Find what is wrong with the box and the mask; the end of a sentence, or None."""
    if not _shapes(x):
        return "has neither 'bbox' nor 'segmentation'"
    box = x.get("bbox", [0, 0, 0, 0])
    if not isinstance(box, list) or len(box) != 4 or not masks.are_numbers(box) or min(box[2:]) < 0:
        return f"has the bbox {cut(box)}, but must have [x, y, width, height] in pixels"
    if "segmentation" in x:
        mistake = masks.find_mistake(x["segmentation"], *sizes[x["image_id"]])
        return mistake and f"has a segmentation that {mistake}"
    return None
