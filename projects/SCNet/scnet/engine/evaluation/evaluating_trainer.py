"""Evaluating the model of a config on its test sets: loaders, evaluators and results."""

import os
from typing import Any, Dict

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ...data.broken_images import EvaluationMapper, skips_broken_images
from ...data.datasets.catalog import set_reading, thing_classes
from ...data.datasets.class_names import check_num_classes
from ...data.datasets.loading import load_once_per_machine
from ...data.once_per_machine import taken
from ...data.workers import outlive_signals
from ...modeling.test_time_augmentation import SCNetWithTTA
from ..distributed import broadcast_buffers
from ..report.write import report_evaluation
from .coco_evaluator import SCNetCOCOEvaluator
from .results import write_results


class EvaluatingTrainer(DefaultTrainer):
    """Evaluates as Detectron2's ``DefaultTrainer`` does, with our loaders and evaluators.

    :class:`scnet.engine.Trainer` trains, too. Its methods for evaluation are these.
    """

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        """Build Detectron2's loader of test images, and compare its classes with the config.

        Raises:
            ValueError: the data has another number of classes.
        """
        mapper = EvaluationMapper(cfg, False)

        def read():
            parts = build_detection_test_loader.from_config(cfg, dataset_name, mapper=mapper)
            return taken(parts["dataset"])

        records = load_once_per_machine([dataset_name], read)
        loader = build_detection_test_loader(
            records, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS
        )
        loader.worker_init_fn = outlive_signals
        check_num_classes(cfg, dataset_name, thing_classes(dataset_name))
        return loader

    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        """Build the evaluator of a test set.

        Args:
            cfg: names the test sets.
            dataset_name: of the one to evaluate.
            output_folder: gets the detections, each of several sets in a folder of its own; by
                default ``inference`` in OUTPUT_DIR.
        """
        folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
        if len(cfg.DATASETS.TEST) > 1:
            folder = os.path.join(folder, dataset_name)
        set_reading(cfg, [dataset_name])
        # COCO counts 100 detections per image and class; a model with fewer loses nothing by it.
        limit = max(100, cfg.TEST.DETECTIONS_PER_IMAGE)
        return SCNetCOCOEvaluator(
            dataset_name,
            output_dir=folder,
            max_dets_per_image=limit,
            skip_broken_images=skips_broken_images(cfg),
        )

    @classmethod
    def test(cls, cfg, model, evaluators=None, output_folder=None) -> Dict[str, Any]:
        """Evaluate on all test sets, if there are any.

        Args:
            cfg, model, evaluators: see :meth:`detectron2.engine.DefaultTrainer.test`.
            output_folder: gets ``results.json``, ``results.md`` and ``report.html``; by default
                ``inference`` in OUTPUT_DIR, and for the report OUTPUT_DIR.

        Raises:
            BrokenImageError: images cannot be used, or more than may be skipped.
        """
        names = cfg.DATASETS.TEST
        if not names:
            return {}
        broadcast_buffers(model)
        if evaluators is None:
            evaluators = [cls.build_evaluator(cfg, name) for name in names]
        elif isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        metrics = super().test(cfg, model, evaluators)
        broken = [image for x in evaluators for image in getattr(x, "broken", ())]
        if comm.is_main_process():
            folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
            by_name = metrics if len(names) > 1 else {names[0]: metrics}
            write_results(by_name, folder, broken)
            if cfg.TEST.REPORT:
                report_evaluation(cfg, evaluators, by_name, output_folder or cfg.OUTPUT_DIR)
        return metrics

    @classmethod
    def test_with_TTA(cls, cfg, model) -> Dict[str, Any]:
        """Evaluate with test-time augmentation (TEST.AUG), as Detectron2's train_net.py does.

        Leaves ``inference_TTA/`` in OUTPUT_DIR; the names of the results end in "_TTA".
        """
        model = SCNetWithTTA(cfg, model)
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.MIN_SIZE_TEST = 0  # the augmentations resize the image as it is on disk
        folder = os.path.join(cfg.OUTPUT_DIR, "inference_TTA")
        evaluators = [cls.build_evaluator(cfg, name, folder) for name in cfg.DATASETS.TEST]
        metrics = cls.test(cfg, model, evaluators, folder)
        return {f"{name}_TTA": values for name, values in metrics.items()}


def best_metric(cfg: CfgNode) -> str:
    """Name the metric whose best weights are kept."""
    task = "segm/AP" if cfg.MODEL.MASK_ON else "bbox/AP"
    several = len(cfg.DATASETS.TEST) > 1
    return cfg.TEST.BEST_METRIC or (f"{cfg.DATASETS.TEST[0]}/{task}" if several else task)
