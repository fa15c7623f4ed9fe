"""Detectron2's trainer with SCNet's mapper and a COCO evaluator."""

import logging
import os
import secrets
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Dict

import torch
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer, hooks
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from torch import nn

from ..checkpoint import SCNetCheckpointer, load_model
from ..checkpoint.checkpointer import TRAINER, TRAINING_MODEL
from ..checkpoint.durable import write_durably
from ..data import SCNetDatasetMapper
from ..data.config_from_data import semantic_classes
from ..data.datasets.catalog import thing_classes
from ..data.datasets.class_names import check_class_names, check_num_classes
from ..data.train_loader import TrainLoader
from ..data.workers import outlive_sigterm
from ..inference.optimize import optimize_as_configured
from ..modeling.class_metadata import make_metadata
from ..modeling.test_time_augmentation import SCNetWithTTA
from ..seeding import BUILD, seed_for
from .disk_space import check_room
from .distributed import detectron2_trainer_on, take_buffers_of_the_first
from .evaluation.coco_evaluator import Evaluator
from .evaluation.results import write_results
from .hooks.best_checkpoint import Evaluation
from .hooks.ema import ExponentialMovingAverage
from .hooks.peak_memory import PeakMemory
from .hooks.stop import StopOnSignal, StopTraining
from .hooks.training_pictures import TrainingPictures
from .output_dir import make_folder, traces_of_a_run
from .provenance import save_record
from .schedule import describe_schedule
from .step import StepTrainer
from .weights_and_biases import start_wandb

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """See :class:`detectron2.engine.DefaultTrainer`.

    OUTPUT_DIR is made if need be, and gets the config. A run that was interrupted goes on as if it
    had not been: the random numbers of a step follow from the seed and the iteration, and the
    checkpoint holds the rest.

    Attributes:
        ema: the moving average of the weights, or None.
    """

    def __init__(self, cfg):
        """
        Raises:
            OSError: checkpoints cannot be written to OUTPUT_DIR.
            ValueError: the config asks for what cannot be.
        """
        self.found = traces_of_a_run(cfg.OUTPUT_DIR)
        comm.synchronize()  # no process may leave traces before all have looked
        if comm.is_main_process():
            make_folder(cfg.OUTPUT_DIR)
        self.seed = choose_seed(cfg)
        seed_for(self.seed, BUILD)
        with detectron2_trainer_on(cfg.MODEL.DEVICE):
            super().__init__(cfg)
        if comm.is_main_process():
            check_room(self.trained, self.cfg)
            config_file = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
            if not os.path.exists(config_file):
                write_durably(config_file, cfg.dump())
        logger.info(describe_schedule(self.cfg, cfg))

    def build_hooks(self):
        """Detectron2's and ours. What they work with is built here, as they are the first to."""
        cfg = self.cfg
        self._trainer = StepTrainer(
            self._trainer.model,
            self._trainer.data_loader,
            self._trainer.optimizer,
            parts=cfg.SOLVER.GRADIENT_ACCUMULATION,
            mixed_precision=cfg.SOLVER.AMP.ENABLED,
            seed=self.seed,
        )
        # Without the wrapper of distributed training.
        self.trained = getattr(self.model, "module", self.model)
        self.ema, parts = None, {TRAINER: weakref.proxy(self)}
        if cfg.SOLVER.EMA.ENABLED:
            self.ema = ExponentialMovingAverage(self.trained, cfg.SOLVER.EMA.DECAY)
            parts[TRAINING_MODEL] = self.trained
        self.checkpointer = SCNetCheckpointer(
            self.result, cfg.OUTPUT_DIR, trusted=cfg.MODEL.TRUST_WEIGHTS, **parts
        )
        first, *others = super().build_hooks()
        at = next(k for k, hook in enumerate(others) if isinstance(hook, hooks.EvalHook))
        others[at] = Evaluation(
            cfg.TEST.EVAL_PERIOD,
            self._evaluate,
            self.checkpointer,
            metric=best_metric(cfg),
            patience=cfg.TEST.PATIENCE,
        )
        # A signal is looked at when the checkpoint of the step is there, before an evaluation.
        others.insert(at, StopOnSignal(self.checkpointer))
        pictures = TrainingPictures(self.trained, cfg.VIS_PERIOD) if cfg.VIS_PERIOD > 0 else None
        return [first, self.ema, PeakMemory(), pictures, *others]

    @property
    def last_batch(self):
        """The inputs of the last step."""
        return self._trainer.last_batch

    @property
    def result(self) -> nn.Module:
        """The model to use: the averaged one if there is one, else the trained one."""
        return self.ema.averaged if self.ema else self.trained

    def _evaluate(self) -> Dict:
        self._last_eval_results = self.test(self.cfg, self.result)
        return self._last_eval_results

    def build_writers(self):
        """Detectron2's: the log, ``metrics.json``, TensorBoard; and Weights & Biases on request."""
        if self.cfg.WANDB.PROJECT:
            start_wandb(self.cfg)
        return super().build_writers()

    def resume_or_load(self, resume: bool = True) -> None:
        """Detectron2's; then the model gets the names of the classes that it is trained on.

        Raises:
            FileExistsError: OUTPUT_DIR held a run already, and ``resume`` is False.
            ValueError: the run to be resumed was for other classes, or with other parts; or a
                file is damaged.
        """
        if self.found and not resume:
            raise FileExistsError(
                f"OUTPUT_DIR '{self.cfg.OUTPUT_DIR}' holds a run already "
                f"({', '.join(self.found)}). Resume it, or choose another directory."
            )
        super().resume_or_load(resume)
        if self.ema and not self.start_iter:
            self.trained.load_state_dict(self.result.state_dict())
        names = thing_classes(self.cfg.DATASETS.TRAIN[0])
        before = self.result.metadata.get("thing_classes", names)
        if self.found and before != names:
            raise ValueError(
                f"The run in '{self.cfg.OUTPUT_DIR}' is for the classes {before[:10]}, but the "
                f"training data now has {names[:10]}. Choose another OUTPUT_DIR."
            )
        for model in (self.trained, self.result):
            model.metadata = make_metadata(
                {"thing_classes": names, "stuff_classes": semantic_classes(self.cfg)}
            )

    def train(self):
        """See :meth:`detectron2.engine.DefaultTrainer.train`.

        Raises:
            FloatingPointError: a loss is not finite; the message names the images.
            OSError: a checkpoint could not be written.
        """
        self.data_loader.seed = self._trainer.seed
        self.data_loader.first = self.start_iter * self._trainer.parts
        if comm.is_main_process():
            save_record(self.cfg.OUTPUT_DIR, seed=self._trainer.seed, first_step=self.start_iter)
        self._make_up_for_final_checkpoint()
        try:
            return super().train()
        except StopTraining as reason:
            logger.warning(str(reason))
        finally:
            self._trainer.end_loading()

    def _make_up_for_final_checkpoint(self) -> None:
        """If the run was killed between the checkpoint of its last step and ``model_final.pth``."""
        final = os.path.join(self.cfg.OUTPUT_DIR, "model_final.pth")
        if self.start_iter >= self.max_iter and not os.path.exists(final):
            self.checkpointer.save("model_final", iteration=self.iter)

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
        processes, parts = comm.get_world_size(), cfg.SOLVER.GRADIENT_ACCUMULATION
        if cfg.SOLVER.IMS_PER_BATCH % (processes * parts):
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} cannot be divided among "
                f"{processes} processes with {parts} parts each (SOLVER.GRADIENT_ACCUMULATION)."
            )
        batch_size = cfg.SOLVER.IMS_PER_BATCH // (processes * parts)
        loader = TrainLoader(cfg, SCNetDatasetMapper(cfg, True), batch_size)
        for name in cfg.DATASETS.TRAIN:
            check_num_classes(cfg, name, thing_classes(name))
        return loader

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        mapper = SCNetDatasetMapper(cfg, False)
        loader = build_detection_test_loader(cfg, dataset_name, mapper=mapper)
        loader.worker_init_fn = outlive_sigterm
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
        take_buffers_of_the_first(model)
        metrics = super().test(cfg, model, evaluators)
        if comm.is_main_process():
            per_set = metrics if len(cfg.DATASETS.TEST) > 1 else {cfg.DATASETS.TEST[0]: metrics}
            write_results(per_set, os.path.join(cfg.OUTPUT_DIR, results))
        return metrics

    @classmethod
    def test_with_TTA(cls, cfg, model) -> Dict:
        """Evaluate with test-time augmentation (TEST.AUG), as Detectron2's train_net.py does.

        Leaves ``inference_TTA/`` in OUTPUT_DIR; the names of the results end in "_TTA".
        """
        model = SCNetWithTTA(cfg, model)
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.MIN_SIZE_TEST = 0  # the augmentations resize the image as it is on disk
        names = cfg.DATASETS.TEST
        evaluators = [cls.build_evaluator(cfg, name, "inference_TTA") for name in names]
        metrics = cls.test(cfg, model, evaluators, "inference_TTA")
        return OrderedDict((f"{name}_TTA", values) for name, values in metrics.items())


def choose_seed(cfg) -> int:
    """``SEED``, or a random one, the same for all processes, if it is negative."""
    return cfg.SEED if cfg.SEED >= 0 else comm.all_gather(secrets.randbits(31))[0]


def best_metric(cfg) -> str:
    """The name of the metric whose best weights are kept."""
    task = "segm/AP" if cfg.MODEL.MASK_ON else "bbox/AP"
    several = len(cfg.DATASETS.TEST) > 1
    return cfg.TEST.BEST_METRIC or (f"{cfg.DATASETS.TEST[0]}/{task}" if several else task)


def load_for_evaluation(cfg, resume: bool = False) -> nn.Module:
    """The model with the weights of ``MODEL.WEIGHTS``, in evaluation mode.

    Args:
        resume: take the last checkpoint of OUTPUT_DIR instead, if there is one.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: no weights are named; they do not fit the config; or they are for other
            classes than those of a set of DATASETS.TEST.
    """
    last = Path(cfg.OUTPUT_DIR, "last_checkpoint")
    weights = cfg.MODEL.WEIGHTS
    if resume and last.exists():
        weights = os.path.join(cfg.OUTPUT_DIR, last.read_text().strip())
    model = load_model(cfg, weights)
    names = model.metadata.get("thing_classes")
    for dataset in cfg.DATASETS.TEST if names else ():
        check_class_names(f"The weights '{weights}'", names, dataset)
    return optimize_as_configured(model, cfg)
