"""The trainer: Detectron2's ``DefaultTrainer``, built from the parts of this package."""

import logging
import os
import signal
import weakref
from functools import partial
from typing import Dict, Optional

import torch
from detectron2.config import CfgNode
from detectron2.engine import TrainerBase, create_ddp_model, hooks
from detectron2.modeling import GeneralizedRCNN
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..checkpoint import SCNetCheckpointer
from ..checkpoint.checkpointer import TRAINER, TRAINING_MODEL
from ..checkpoint.durable import write_durably
from ..data import SCNetDatasetMapper
from ..data.config_from_data import semantic_classes
from ..data.datasets.catalog import set_reading, thing_classes
from ..data.datasets.class_names import check_num_classes
from ..data.object_sizes import notes_on_sizes
from ..data.train_loader import TrainLoader
from ..device_name import device_name
from ..modeling.class_metadata import make_metadata
from ..modeling.compiled_regions import compile_regions
from ..overwrite import refuse_links
from ..seeding import BUILD, seed_for
from ..tf32 import set_tf32
from .disk_space import check_room
from .evaluation.evaluating_trainer import EvaluatingTrainer, best_metric
from .full_disk import PatientWriter
from .hooks.best_checkpoint import EvalAndKeepBest
from .hooks.broken_images import WatchBrokenImages
from .hooks.duration import Duration
from .hooks.ema import ExponentialMovingAverage
from .hooks.peak_memory import PeakMemory
from .hooks.precise_bn import PreciseBatchNorm
from .hooks.stop import StopOnSignal, StopTraining
from .hooks.training_pictures import TrainingPictures
from .json_lines import drop_half_line
from .mlflow_writer import make_mlflow_writer
from .optimizer import build_optimizer
from .output_dir import CONFIG, WRITTEN_BY_NAME, make_folder, refuse_to_overwrite
from .precision import mixed_precision_type
from .provenance import save_record
from .resume import name_parameters
from .run_lock import lock_run, unlock_run
from .schedule import describe_schedule
from .start_checks import check_cfg
from .step import StepTrainer
from .validation_loss import ValidationLoss
from .weights_and_biases import start_wandb

logger = logging.getLogger(__name__)


class Trainer(EvaluatingTrainer):
    """Trains and evaluates a model as Detectron2's ``DefaultTrainer`` does, with our parts.

    A run that was interrupted goes on as if it had not been: the random numbers of a step follow
    from the seed and the iteration, and the checkpoint holds the rest.

    Attributes:
        cfg: the config, scaled to the number of processes if SOLVER.REFERENCE_WORLD_SIZE says so.
        trained: the model that is trained, without the wrapper of distributed training.
        ema: the moving average of its weights, or None.
        result: the model to use: the averaged one if there is one, else the trained one.
        stopped_by: the signal that has ended the training, or None.
        precise_bn: computes the statistics of batch norm anew, or None.
    """

    stopped_by: Optional[signal.Signals] = None
    precise_bn: Optional[PreciseBatchNorm] = None

    def __init__(self, cfg: CfgNode):
        """
        Args:
            cfg: its OUTPUT_DIR is made if need be, and gets the config.

        Raises:
            FileExistsError: another process trains in OUTPUT_DIR; or a file there is a link.
            OSError: checkpoints cannot be written to OUTPUT_DIR.
            ValueError: the config asks for what cannot be.
        """
        check_cfg(cfg)
        TrainerBase.__init__(self)  # DefaultTrainer's own would build other parts
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        if comm.is_main_process():
            make_folder(cfg.OUTPUT_DIR)
            refuse_links(cfg.OUTPUT_DIR, WRITTEN_BY_NAME)
            lock_run(cfg.OUTPUT_DIR)
            drop_half_line(os.path.join(cfg.OUTPUT_DIR, "metrics.json"))
        written, cfg = cfg, self.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        if not comm.is_main_process():
            # Only the main process has writers: elsewhere pictures would be made and kept for ever.
            self.cfg = cfg = cfg.clone()
            cfg.defrost()
            cfg.VIS_PERIOD = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        seed_for(seed, BUILD)

        set_tf32(cfg.SOLVER.TF32)
        self.trained = self.build_model(cfg)
        if cfg.SOLVER.CHANNELS_LAST:
            self.trained.to(memory_format=torch.channels_last)
        if cfg.SOLVER.COMPILE:
            compile_regions(self.trained)
        logger.info(f"The model is on {device_name(next(self.trained.parameters()).device)}.")
        optimizer = self.build_optimizer(cfg, self.trained)
        loader = self.build_train_loader(cfg)
        precision = None
        if cfg.SOLVER.AMP.ENABLED:
            precision = mixed_precision_type(cfg.SOLVER.AMP.DTYPE, self.trained.device.type)
            logger.info(f"Mixed precision: {precision}.")
        device_ids = None if cfg.MODEL.DEVICE == "cpu" else [comm.get_local_rank()]
        self._trainer = StepTrainer(
            create_ddp_model(
                self.trained,
                broadcast_buffers=False,
                device_ids=device_ids,
                gradient_as_bucket_view=True,  # no second copy of the gradients
            ),
            loader,
            optimizer,
            parts=cfg.SOLVER.GRADIENT_ACCUMULATION,
            precision=precision,
            seed=seed,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.ema: Optional[ExponentialMovingAverage] = None
        if cfg.SOLVER.EMA.ENABLED:
            self.ema = ExponentialMovingAverage(self.trained, cfg.SOLVER.EMA.DECAY)
        self.result: GeneralizedRCNN = self.ema.averaged if self.ema else self.trained
        self.validation_loss: Optional[ValidationLoss] = None
        if cfg.TEST.LOSS and cfg.DATASETS.TEST:
            self.validation_loss = ValidationLoss(cfg, precision)
        self.checkpointer = SCNetCheckpointer(
            self.result,
            cfg.OUTPUT_DIR,
            trusted=cfg.MODEL.TRUST_WEIGHTS,
            in_background=cfg.SOLVER.CHECKPOINT_IN_BACKGROUND,
        )
        self.checkpointer.add_checkpointable(TRAINER, weakref.proxy(self))
        if self.ema:
            self.checkpointer.add_checkpointable(TRAINING_MODEL, self.trained)
        self.register_hooks(self.build_hooks())

        if comm.is_main_process():
            check_room(self.trained, cfg)
            config_file = os.path.join(cfg.OUTPUT_DIR, CONFIG)
            if not os.path.exists(config_file):
                write_durably(config_file, written.dump())
        self._written = written

    def build_hooks(self):
        """List Detectron2's hooks and ours, in the order in which they run after a step."""
        cfg, is_main = self.cfg, comm.is_main_process()
        checkpoints = hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
        watch = WatchBrokenImages(self.checkpointer, self._trainer, self.data_loader)
        if cfg.TEST.PRECISE_BN.ENABLED:
            self.precise_bn = PreciseBatchNorm(
                self.result,  # the average, if there is one: it is what is kept
                self.data_loader,
                watch,
                period=cfg.TEST.EVAL_PERIOD,
                num_batches=cfg.TEST.PRECISE_BN.NUM_ITER,
                batches_per_step=cfg.SOLVER.GRADIENT_ACCUMULATION,
            )
        evaluation = EvalAndKeepBest(
            cfg.TEST.EVAL_PERIOD,
            self._evaluate,
            self.checkpointer,
            metric=best_metric(cfg),
            patience=cfg.TEST.PATIENCE,
        )
        pictures = cfg.VIS_PERIOD > 0
        with_tta = partial(self.test_with_TTA, cfg, self.result)
        return [
            hooks.IterationTimer(),
            self.ema,
            PeakMemory(),
            Duration(),
            TrainingPictures(self.trained, self._trainer, cfg.VIS_PERIOD) if pictures else None,
            hooks.LRScheduler(),
            self.precise_bn,  # changes the model, so before it is saved
            checkpoints if is_main else None,
            # These two look when the checkpoint of the step is there, before an evaluation.
            watch,
            StopOnSignal(self.checkpointer, self._trainer),
            evaluation,
            hooks.PeriodicWriter(self.build_writers(), period=20) if is_main else None,
            hooks.EvalHook(0, with_tta) if cfg.TEST.AUG.ENABLED else None,  # once, at the end
        ]

    def run_step(self) -> None:
        """Train one step, and load the images of the next, if there is one."""
        self.checkpointer.check_writing()
        self._trainer.load_ahead = self.iter + 1 < self.max_iter
        super().run_step()

    def _evaluate(self) -> Dict:
        if self.validation_loss:
            losses = self.validation_loss(self.result)
            logger.info(f"Losses on the validation data: {losses}")
            self.storage.put_scalars(**losses, smoothing_hint=False)
        self._last_eval_results = self.test(self.cfg, self.result)
        return self._last_eval_results

    def build_writers(self):
        """List Detectron2's writers: the log, ``metrics.json`` and TensorBoard.

        On request Weights & Biases gets what TensorBoard gets, and MLflow what is in metrics.json.
        """
        if self.cfg.WANDB.PROJECT:
            start_wandb(self.cfg)
        writers = [PatientWriter(writer, self.cfg.OUTPUT_DIR) for writer in super().build_writers()]
        return [*writers, *([make_mlflow_writer(self.cfg)] if self.cfg.MLFLOW.EXPERIMENT else [])]

    def resume_or_load(self, resume: bool = True) -> None:
        """Load the last checkpoint of OUTPUT_DIR, or else MODEL.WEIGHTS.

        Then the model gets the names of the classes that it is trained on.

        Args:
            resume: go on with the run in OUTPUT_DIR, if there is one.

        Raises:
            FileExistsError: OUTPUT_DIR holds a run, and ``resume`` is False.
            ValueError: the run to be resumed was for other classes, or with other parts; or a
                file is damaged.
        """
        if not resume:
            refuse_to_overwrite(self.cfg.OUTPUT_DIR)
        super().resume_or_load(resume)
        resumed = self.start_iter > 0
        if self.ema and not resumed:
            self.trained.load_state_dict(self.result.state_dict())
        names = thing_classes(self.cfg.DATASETS.TRAIN[0])
        before = self.result.metadata.get("thing_classes", names)
        if resumed and before != names:
            raise ValueError(
                f"The run in '{self.cfg.OUTPUT_DIR}' is for the classes {before[:10]}, but the "
                f"training data now has {names[:10]}. Choose another OUTPUT_DIR."
            )
        for model in (self.trained, self.result):
            model.metadata = make_metadata(
                {"thing_classes": names, "stuff_classes": semantic_classes(self.cfg, names)}
            )

    def load_state_dict(self, state_dict: Dict) -> None:
        """Take over the state of a run, with the learning rates and the schedule of the config.

        Raises:
            ValueError: the state of the optimizer does not fit.
        """
        base_lrs = self.scheduler.base_lrs
        super().load_state_dict(state_dict)
        self.scheduler.base_lrs = base_lrs
        for group, lr in zip(self.optimizer.param_groups, self.scheduler.get_lr()):
            group["lr"] = lr
        seed = self._trainer.seed
        asked = self.cfg.SEED
        if asked >= 0 and asked != seed:
            logger.warning(f"SEED {asked} is not used: the run goes on with its own, {seed}.")

    def train(self) -> Optional[Dict]:
        """Train to the last iteration, and evaluate.

        Returns:
            as :meth:`detectron2.engine.DefaultTrainer.train`.

        Raises:
            BrokenImageError: images cannot be used; a checkpoint of the steps before is written.
            FloatingPointError: a loss is not finite; the message names the images.
            OSError: a checkpoint could not be written.
        """
        step = self._trainer
        self.data_loader.seed = step.seed
        self.data_loader.first = self.start_iter * step.parts
        if comm.is_main_process():
            save_record(self.cfg.OUTPUT_DIR, seed=step.seed, first_step=self.start_iter)
        if self.start_iter < self.max_iter:
            logger.info(
                describe_schedule(
                    self.cfg, self._written, self.optimizer, self.scheduler, self.start_iter
                )
            )
        final = os.path.join(self.cfg.OUTPUT_DIR, "model_final.pth")
        try:
            if self.start_iter >= self.max_iter and not os.path.exists(final):
                # The run has ended between the checkpoint of its last step and this one.
                if self.precise_bn:
                    self.precise_bn.update(self.max_iter)
                self.checkpointer.save("model_final", iteration=self.iter)
            return super().train()
        except StopTraining as reason:
            if reason.error:
                raise reason.error from None
            logger.warning(str(reason))
            self.stopped_by = reason.signal
            return None
        finally:
            step.end_loading()
            try:
                self.checkpointer.finish_writing()
            finally:
                unlock_run(self.cfg.OUTPUT_DIR)

    @classmethod
    def build_optimizer(cls, cfg, model):
        """Build SGD or AdamW; see :func:`scnet.engine.optimizer.build_optimizer`."""
        optimizer = build_optimizer(cfg, model)
        name_parameters(optimizer, model)
        return optimizer

    @classmethod
    def build_train_loader(cls, cfg):
        """Build the loader of training batches, and compare its classes with the config.

        Raises:
            ValueError: the batch cannot be divided, or the data has another number of classes.
        """
        processes, parts = comm.get_world_size(), cfg.SOLVER.GRADIENT_ACCUMULATION
        if cfg.SOLVER.IMS_PER_BATCH % (processes * parts):
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} cannot be divided among "
                f"{processes} processes with {parts} parts each (SOLVER.GRADIENT_ACCUMULATION)."
            )
        batch_size = cfg.SOLVER.IMS_PER_BATCH // (processes * parts)
        set_reading(cfg, cfg.DATASETS.TRAIN)
        mapper = SCNetDatasetMapper(cfg, True)
        loader = TrainLoader(cfg, mapper, batch_size)
        if comm.is_main_process():
            for note in notes_on_sizes(cfg, loader.records, mapper.augmentations):
                logger.warning(note)
        for name in cfg.DATASETS.TRAIN:
            check_num_classes(cfg, name, thing_classes(name))
        return loader
