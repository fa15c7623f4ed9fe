"""Detectron2's trainer with SCNet's mapper and a COCO evaluator."""

import json
import os
from typing import Dict

from detectron2.data import build_detection_train_loader
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from ..data import SCNetDatasetMapper

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class Trainer(DefaultTrainer):
    """See :class:`detectron2.engine.DefaultTrainer`."""

    @classmethod
    def build_train_loader(cls, cfg):
        return build_detection_train_loader(cfg, mapper=SCNetDatasetMapper(cfg, True))

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):
        folder = os.path.join(cfg.OUTPUT_DIR, "inference")
        if len(cfg.DATASETS.TEST) > 1:
            folder = os.path.join(folder, dataset_name)
        return COCOEvaluator(dataset_name, output_dir=folder)

    @classmethod
    def test(cls, cfg, model, evaluators=None) -> Dict:
        """Evaluate on all test sets; leaves ``inference/results.{json,md}`` in OUTPUT_DIR."""
        results = super().test(cfg, model, evaluators)
        if comm.is_main_process():
            per_set = results if len(cfg.DATASETS.TEST) > 1 else {cfg.DATASETS.TEST[0]: results}
            write_results(per_set, os.path.join(cfg.OUTPUT_DIR, "inference"))
        return results


def write_results(results: Dict[str, Dict[str, Dict[str, float]]], folder: str) -> None:
    """Save the numbers of an evaluation, and a table of them.

    Args:
        results: data set -> "bbox" or "segm" -> metric -> value in percent.
        folder: gets ``results.json`` with all of them and ``results.md`` with the main ones.
    """
    os.makedirs(folder, exist_ok=True)
    rows = [
        [dataset, task, *(metrics.get(name, float("nan")) for name in METRICS)]
        for dataset, tasks in results.items()
        for task, metrics in tasks.items()
    ]
    table = tabulate(rows, ["data set", "task", *METRICS], tablefmt="github", floatfmt=".1f")
    with open(os.path.join(folder, "results.md"), "w") as f:
        f.write(table + "\n")
    with open(os.path.join(folder, "results.json"), "w") as f:
        json.dump(results, f, indent=1)
