"""COCO's metrics, for json files that lack what training does without."""

import contextlib
import io
import logging

from detectron2.evaluation import COCOEvaluator
from pycocotools import mask as mask_util

from ...data import masks
from . import faster_coco_eval

logger = logging.getLogger(__name__)


class SCNetCOCOEvaluator(COCOEvaluator):
    """Evaluates detections as Detectron2's ``COCOEvaluator`` does, on incomplete json files too.

    pycocotools needs "iscrowd" and "area" of every object. Where they are missing an object is no
    crowd, and its area is that of its mask, or of its box if it has no mask. Polygons with fewer
    than three points, and objects with no other polygons, are left out, as in training.

    Where the package faster-coco-eval is installed it computes the AP, in less time and with the
    same result, unless ``tasks`` are given; ``use_fast_impl=False`` is pycocotools in any case.
    """

    def __init__(self, dataset_name, tasks=None, *args, use_fast_impl=True, **kwargs):
        installed = faster_coco_eval.COCOeval_faster is not None
        self._faster = use_fast_impl and tasks is None and installed
        fast_impl = use_fast_impl and not self._faster
        super().__init__(dataset_name, tasks, *args, use_fast_impl=fast_impl, **kwargs)
        self._use_fast_impl |= self._faster  # Detectron2's log then calls it unofficial
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
        slower = "Detectron2" if self._use_fast_impl else "pycocotools"
        logger.info(f"Matching and accumulation: {'faster-coco-eval' if self._faster else slower}.")
        super()._eval_predictions(predictions, img_ids=img_ids)
        if self._faster and self._do_evaluation:
            # By now they have the category ids of the json.
            results = [x for prediction in predictions for x in prediction["instances"]]
            for task in super()._tasks_from_predictions(results):
                options = (task, self._max_dets_per_image, img_ids)
                ap = faster_coco_eval.compute_ap(self._coco_api, results, *options)
                names = self._metadata.get("thing_classes")
                self._results[task] = self._derive_coco_results(ap, task, names)

    def _tasks_from_predictions(self, predictions):
        """List the tasks for Detectron2: none where faster-coco-eval takes over afterwards."""
        return [] if self._faster else super()._tasks_from_predictions(predictions)


def _has_object(annotation) -> bool:
    """Whether anything is left of an annotation without its short polygons."""
    segmentation = annotation.get("segmentation")
    return (
        not isinstance(segmentation, list)
        or not segmentation
        or any(map(masks.is_valid_polygon, segmentation))
    )


def _complete(annotation, image):
    """Copy an annotation with "iscrowd" and "area", and without polygons of one or two points."""
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
