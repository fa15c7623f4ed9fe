"""COCO's metrics, for json files that lack what training does without."""

import logging
import os

from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table
from tabulate import tabulate

from ...data.broken_images import BROKEN, BrokenImageError, most_to_skip
from ...data.content import AS_IT_IS, read_content
from ...overwrite import remove_links
from . import faster_coco_eval
from .ground_truth import GroundTruth

# Average recall: with at most 1, 10 and all detections per image, and of objects of three sizes.
RECALLS = ("AR1", "AR10", "AR", "ARs", "ARm", "ARl")

# What Detectron2 opens in the folder of an evaluation, and so would write where a link leads: the
# last three for a data set without a json file, whose name they have.
WRITTEN_BY_NAME = (
    *("coco_instances_results.json", "instances_predictions.pth"),
    *(f"{{}}_coco_format.json{ending}" for ending in ("", ".tmp", ".lock")),
)

logger = logging.getLogger(__name__)


class SCNetCOCOEvaluator(COCOEvaluator):
    """Evaluates detections as Detectron2's ``COCOEvaluator`` does, on incomplete json files too.

    Annotations are brought into a clean form first; see :func:`clean_annotations`. Ids may be
    anything that json has; results have them as they were. Beside Detectron2's metrics there are
    average recall (:data:`RECALLS`) and AP50 per class.

    Attributes:
        broken: the images of the last evaluation that could not be used, and what is wrong.
        measured: "bbox" or "segm" -> the arrays that its metrics are from, ``COCOeval.eval``.
        detections: what was evaluated, in COCO's result format.

    Where the package faster-coco-eval is installed it computes the AP, in less time and with the
    same result, unless ``tasks`` are given; ``use_fast_impl=False`` is pycocotools in any case.
    """

    def __init__(
        self,
        dataset_name,
        tasks=None,
        distributed=True,
        output_dir=None,
        *,
        use_fast_impl=True,
        skip_broken_images=False,
        **kwargs,
    ):
        """Read the ground truth.

        Args:
            dataset_name, tasks, distributed, output_dir, kwargs: see
                :class:`detectron2.evaluation.COCOEvaluator`.
            use_fast_impl: see the class.
            skip_broken_images: count images that cannot be used without detections, see
                :func:`most_to_skip`; otherwise they are an error.
        """
        self._skips = skip_broken_images
        if output_dir:
            remove_links(
                [os.path.join(output_dir, x.format(dataset_name)) for x in WRITTEN_BY_NAME]
            )
        installed = faster_coco_eval.COCOeval_faster is not None
        self._faster = use_fast_impl and tasks is None and installed
        fast_impl = use_fast_impl and not self._faster
        super().__init__(
            dataset_name, tasks, distributed, output_dir, use_fast_impl=fast_impl, **kwargs
        )
        self._use_fast_impl |= self._faster  # Detectron2's log then calls it unofficial
        # The detections of all processes are evaluated in the first one.
        if self._do_evaluation and (comm.is_main_process() or not self._distributed):
            reading = self._metadata.get("reading", AS_IT_IS)
            content, notes = read_content(self._metadata.json_file, reading)
            self._coco_api = GroundTruth(content)
            for note in notes + self._coco_api.notes:
                logger.warning(note)

    @property
    def ground_truth(self) -> GroundTruth:
        """The objects of the data set, in the process that evaluates."""
        return self._coco_api

    @property
    def image_root(self) -> str:
        """The folder of the images; "" if their names in the json are whole."""
        return self._metadata.get("image_root", "")

    def reset(self):
        super().reset()
        self._images = 0
        self.broken = {}
        self.measured = {}
        self.detections = []

    def process(self, inputs, outputs):
        """Note detections; what was found in place of an image that cannot be used is dropped."""
        for image, output in zip(inputs, outputs):
            self._images += 1
            if BROKEN in image:
                self.broken[image["file_name"]] = image[BROKEN]
                output["instances"] = output["instances"][:0]
        super().process(inputs, outputs)

    def take(self, detections):
        """Note detections in COCO's result format, with the ids of the json, as of a model."""
        classes = self._metadata.thing_dataset_id_to_contiguous_id
        found = [{**x, "category_id": classes[x["category_id"]]} for x in detections]
        self._predictions.append({"instances": found})

    def evaluate(self, img_ids=None):
        """Compute the metrics, when all processes have seen all their images.

        Raises:
            BrokenImageError: images cannot be used, or more than may be skipped; in all processes.
        """
        parts = [(self.broken, self._images)]
        if self._distributed:
            parts = comm.all_gather(parts[0])
        self.broken = {name: why for broken, _ in parts for name, why in broken.items()}
        images = sum(count for _, count in parts)
        if len(self.broken) > (most_to_skip(images) if self._skips else 0):
            raise BrokenImageError(self.broken)
        for reason in self.broken.values():
            logger.warning(f"{reason} It counts as an image without detections.")
        return super().evaluate(img_ids)

    def _eval_predictions(self, predictions, img_ids=None):
        slower = "Detectron2" if self._use_fast_impl else "pycocotools"
        logger.info(f"Matching and accumulation: {'faster-coco-eval' if self._faster else slower}.")
        if self._do_evaluation and img_ids is not None:
            img_ids = [self._coco_api.image_numbers[x] for x in img_ids]
        super()._eval_predictions(predictions, img_ids=img_ids)
        # By now they have the category ids of the json.
        results = [x for prediction in predictions for x in prediction["instances"]]
        self.detections = results
        if self._faster and self._do_evaluation:
            for task in super()._tasks_from_predictions(results):
                options = (task, self._max_dets_per_image, img_ids)
                ap = faster_coco_eval.compute_ap(self._coco_api, results, *options)
                names = self._metadata.get("thing_classes")
                self._results[task] = self._derive_coco_results(ap, task, names)

    def _tasks_from_predictions(self, predictions):
        """List the tasks for Detectron2: none where faster-coco-eval takes over afterwards."""
        return [] if self._faster else super()._tasks_from_predictions(predictions)

    def _eval_box_proposals(self, predictions):
        """Refuse proposals, whose evaluation in Detectron2 needs the ids of the json.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("Evaluate proposals with Detectron2's COCOEvaluator.")

    def _derive_coco_results(self, coco_eval, iou_type, class_names=None):
        """Add average recall and AP50 per class to Detectron2's metrics, in percent."""
        results = super()._derive_coco_results(coco_eval, iou_type, class_names)
        if iou_type == "keypoints":
            return results
        if coco_eval is not None:
            self.measured[iou_type] = coco_eval.eval
        stats = [-1] * len(RECALLS) if coco_eval is None else coco_eval.stats[6:12]
        recalls = {name: _percent(x) for name, x in zip(RECALLS, stats)}
        results.update(recalls)
        if coco_eval is None:
            return results
        logger.info(f"Average recall for {iou_type}:\n{create_small_table(recalls)}")
        if class_names is not None and len(class_names) > 1:
            # Axes: IoU from 0.5 on, recall, class, area (all first), detections per image.
            precisions = coco_eval.eval["precision"][0, :, :, 0, -1]
            rows = [
                (name, _percent(of_class[of_class > -1].mean() if (of_class > -1).any() else -1))
                for name, of_class in zip(class_names, precisions.T)
            ]
            table = tabulate(rows, ["category", "AP50"], tablefmt="pipe", floatfmt=".3f")
            logger.info(f"Per-category {iou_type} AP50:\n{table}")
            results.update((f"AP50-{name}", value) for name, value in rows)
        return results


def _percent(value: float) -> float:
    """Convert a metric to percent; -1 stands for one that cannot be computed."""
    return float(value) * 100 if value >= 0 else float("nan")
