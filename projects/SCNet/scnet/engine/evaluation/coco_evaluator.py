"""Detectron2's COCO evaluator, for json files that leave out what training does without."""

import contextlib
import io
import logging

from detectron2.evaluation import COCOEvaluator
from pycocotools import mask as mask_util

from ...data import masks
from .faster_coco_eval import faster_coco_eval, implementation

logger = logging.getLogger(__name__)


class Evaluator(COCOEvaluator):
    """See :class:`detectron2.evaluation.COCOEvaluator`.

    pycocotools needs "iscrowd" and "area" of every object. Where they are missing an object is no
    crowd, and its area is that of its mask, or of its box if it has none; polygons with fewer than
    three points and objects without any other are left out, as in training.

    Where the package faster-coco-eval is installed it computes the AP, in less time and with the
    same result; ``use_fast_impl=False`` is pycocotools in any case.
    """

    def __init__(self, dataset_name, *args, use_fast_impl=True, **kwargs):
        with faster_coco_eval(use_fast_impl):
            super().__init__(dataset_name, *args, use_fast_impl=use_fast_impl, **kwargs)
        coco = self._coco_api
        if "annotations" not in coco.dataset:
            return
        before = coco.dataset["annotations"]
        coco.dataset["annotations"] = [
            # Ids from 1 on: pycocotools takes a match with the object 0 for none.
            {**_complete(x, coco.imgs[x["image_id"]]), "id": k}
            for k, x in enumerate(before, start=1)
            if x["image_id"] in coco.imgs and _has_object(x)
        ]
        without_area = sum("area" not in x for x in before)
        left_out = len(before) - len(coco.dataset["annotations"])
        if without_area:
            logger.warning(f"{without_area} objects have no 'area'; that of their masks is used.")
        if left_out:
            logger.warning(f"{left_out} annotations without image or valid polygon are left out.")
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()

    def _eval_predictions(self, predictions, img_ids=None):
        logger.info(f"Matching and accumulation: {implementation(self._use_fast_impl)}.")
        with faster_coco_eval(self._use_fast_impl):
            super()._eval_predictions(predictions, img_ids=img_ids)


def _has_object(annotation) -> bool:
    segmentation = annotation.get("segmentation")
    return (
        not isinstance(segmentation, list)
        or not segmentation
        or any(map(masks.is_valid_polygon, segmentation))
    )


def _complete(annotation, image):
    """A copy with "iscrowd" and "area", and without polygons that are none."""
    annotation = {"iscrowd": 0, **annotation}
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        annotation["segmentation"] = list(filter(masks.is_valid_polygon, segmentation))
    if "area" not in annotation:
        if segmentation:
            rle = masks.to_rle(segmentation, image["height"], image["width"])
            annotation["area"] = float(mask_util.area(rle))
        else:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    return annotation
