"""Detectron2's trainer with SCNet's mapper and a COCO evaluator."""

import json
import os
import weakref
from collections import OrderedDict
from typing import Dict

import torch
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from tabulate import tabulate
from torch import nn

from ..checkpoint import SCNetCheckpointer
from ..class_metadata import make_metadata
from ..data import SCNetDatasetMapper
from ..data.coco_json import check_class_names, check_num_classes, thing_classes
from ..optimize import optimize_for_inference
from .configure import semantic_classes
from .distributed import ddp_for
from .evaluator import Evaluator
from .setup import traces_of_a_run

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class Trainer(DefaultTrainer):
    """See :class:`detectron2.engine.DefaultTrainer`.

    OUTPUT_DIR is made if need be, and gets the config.
    """

    def __init__(self, cfg):
        self.found = traces_of_a_run(cfg.OUTPUT_DIR)
        comm.synchronize()  # no process may leave traces before all have looked
        if comm.is_main_process():
            os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
            config_file = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
            if not os.path.exists(config_file):
                with open(config_file, "w") as f:
                    f.write(cfg.dump())
        with ddp_for(cfg.MODEL.DEVICE):
            super().__init__(cfg)

    def build_hooks(self):
        """Detectron2's; the first of them to be built keep the checkpointer, so it is set here."""
        self.checkpointer = SCNetCheckpointer(
            self._trainer.model, self.cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        return super().build_hooks()

    def resume_or_load(self, resume: bool = True) -> None:
        """Detectron2's; then the model gets the names of the classes that it is trained on.

        Raises:
            FileExistsError: OUTPUT_DIR held a run already, and ``resume`` is False.
            ValueError: the run to be resumed was for other classes.
        """
        if self.found and not resume:
            raise FileExistsError(
                f"OUTPUT_DIR '{self.cfg.OUTPUT_DIR}' holds a run already "
                f"({', '.join(self.found)}). Resume it, or choose another directory."
            )
        super().resume_or_load(resume)
        model, names = self.checkpointer.model, thing_classes(self.cfg.DATASETS.TRAIN[0])
        before = model.metadata.get("thing_classes", names)
        if self.found and before != names:
            raise ValueError(
                f"The run in '{self.cfg.OUTPUT_DIR}' is for the classes {before[:10]}, but the "
                f"training data now has {names[:10]}. Choose another OUTPUT_DIR."
            )
        model.metadata = make_metadata(
            {"thing_classes": names, "stuff_classes": semantic_classes(self.cfg)}
        )

    @classmethod
    def build_optimizer(cls, cfg, model):
        """Detectron2's SGD, or AdamW with the same settings per parameter.

        Raises:
            ValueError: ``SOLVER.OPTIMIZER`` is neither.
        """
        if cfg.SOLVER.OPTIMIZER == "SGD":
            return super().build_optimizer(cfg, model)
        if cfg.SOLVER.OPTIMIZER != "AdamW":
            raise ValueError(
                f"SOLVER.OPTIMIZER must be 'SGD' or 'AdamW', not '{cfg.SOLVER.OPTIMIZER}'."
            )
        params = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay=cfg.SOLVER.WEIGHT_DECAY,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        return maybe_add_gradient_clipping(cfg, torch.optim.AdamW)(params, lr=cfg.SOLVER.BASE_LR)

    @classmethod
    def build_train_loader(cls, cfg):
        loader = build_detection_train_loader(cfg, mapper=SCNetDatasetMapper(cfg, True))
        for name in cfg.DATASETS.TRAIN:
            check_num_classes(cfg, name, thing_classes(name))
        return loader

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        mapper = SCNetDatasetMapper(cfg, False)
        loader = build_detection_test_loader(cfg, dataset_name, mapper=mapper)
        check_num_classes(cfg, dataset_name, thing_classes(dataset_name))
        return loader

    @classmethod
    def build_evaluator(cls, cfg, dataset_name, results="inference"):
        folder = os.path.join(cfg.OUTPUT_DIR, results)
        if len(cfg.DATASETS.TEST) > 1:
            folder = os.path.join(folder, dataset_name)
        return Evaluator(dataset_name, output_dir=folder)

    @classmethod
    def test(cls, cfg, model, evaluators=None, results="inference") -> Dict:
        """Evaluate on all test sets, if there are any.

        Leaves ``inference/results.{json,md}`` in OUTPUT_DIR.
        """
        if not cfg.DATASETS.TEST:
            return {}
        metrics = super().test(cfg, model, evaluators)
        if comm.is_main_process():
            per_set = metrics if len(cfg.DATASETS.TEST) > 1 else {cfg.DATASETS.TEST[0]: metrics}
            write_results(per_set, os.path.join(cfg.OUTPUT_DIR, results))
        return metrics

    @classmethod
    def test_with_TTA(cls, cfg, model) -> Dict:
        """Evaluate with Detectron2's test-time augmentation (TEST.AUG), as its train_net.py does.

        Leaves ``inference_TTA/`` in OUTPUT_DIR; the names of the results end in "_TTA".
        """
        model = GeneralizedRCNNWithTTA(cfg, model)
        names = cfg.DATASETS.TEST
        evaluators = [cls.build_evaluator(cfg, name, "inference_TTA") for name in names]
        metrics = cls.test(cfg, model, evaluators, "inference_TTA")
        return OrderedDict((f"{name}_TTA", values) for name, values in metrics.items())


def load_for_evaluation(cfg, resume: bool = False) -> nn.Module:
    """The model with the weights of ``MODEL.WEIGHTS``, in evaluation mode.

    Args:
        resume: take the last checkpoint of OUTPUT_DIR instead, if there is one.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: no weights are named; they do not fit the config; or they are for other
            classes than those of a set of DATASETS.TEST.
    """
    model = Trainer.build_model(cfg).eval()
    checkpointer = SCNetCheckpointer(model, cfg.OUTPUT_DIR)
    if not cfg.MODEL.WEIGHTS and not (resume and checkpointer.has_checkpoint()):
        raise ValueError("No weights to evaluate. Add MODEL.WEIGHTS path/to/model.pth.")
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    names = model.metadata.get("thing_classes")
    for dataset in cfg.DATASETS.TEST if names else ():
        check_class_names(f"The weights '{cfg.MODEL.WEIGHTS}'", names, dataset)
    dtype = cfg.MODEL.SCNET.OPTIMIZE_FOR_INFERENCE
    return optimize_for_inference(model, getattr(torch, dtype, dtype)) if dtype else model


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
