"""Evaluation during the training: the best weights are kept, and it can end the training."""

import logging
import math
from typing import Dict

from detectron2.engine import hooks
from detectron2.utils import comm

from ...checkpoint.checkpointer import BEST
from ...data.broken_images import BrokenImageError
from .stop import StopTraining

logger = logging.getLogger(__name__)


class EvalAndKeepBest(hooks.EvalHook):
    """Evaluates as Detectron2's hook does, and keeps the best weights as ``model_best.pth``.

    If the training was interrupted between a checkpoint and the evaluation after it, the
    evaluation is made up for when it goes on.
    """

    def __init__(self, period: int, function, checkpointer, *, metric: str, patience: int = 0):
        """
        Args:
            period, function: see :class:`detectron2.engine.hooks.EvalHook`.
            checkpointer: writes the best weights.
            metric: what is to be large, by its name in TensorBoard ("segm/AP").
            patience: the training ends after so many evaluations without a better value; 0 for
                never.
        """
        super().__init__(period, function)
        self.checkpointer = checkpointer
        self.metric = metric
        self.patience = patience
        self.evaluated = 0  # steps done at the last evaluation
        self.best = -math.inf
        self.best_steps = 0
        self.waiting = 0  # evaluations since the best one

    def state_dict(self) -> Dict:
        keys = ("evaluated", "metric", "best", "best_steps", "waiting")
        return {key: getattr(self, key) for key in keys}

    def load_state_dict(self, state_dict: Dict) -> None:
        """Take over the state of a run, but not the best value of another metric."""
        before = state_dict.get("metric", self.metric)  # older checkpoints do not name it
        if before != self.metric:
            logger.warning(
                f"TEST.BEST_METRIC {before} -> {self.metric}: the best is looked for anew."
            )
            state_dict = {"evaluated": state_dict["evaluated"]}
        for key, value in state_dict.items():
            setattr(self, key, value)

    def before_train(self) -> None:
        trainer, start = self.trainer, self.trainer.start_iter
        due = self._period > 0 and start % self._period == 0 and self.evaluated < start
        if due and start < trainer.max_iter:
            trainer.iter = trainer.storage.iter = start - 1
            self._do_eval()
            self._stop_if_in_vain()
            trainer.iter = trainer.storage.iter = start

    def after_step(self) -> None:
        """Evaluate if it is time to; after an error the steps of the training are kept.

        Raises:
            StopTraining: the patience is at its end, or test images cannot be used.
        """
        trainer = self.trainer
        try:
            super().after_step()
        except (Exception, StopTraining):  # any: the steps are good, and --resume evaluates again
            self.checkpointer.save(f"model_{trainer.iter:07d}", iteration=trainer.iter)
            raise
        if self.evaluated == self.trainer.iter + 1:
            self._stop_if_in_vain()

    def _do_eval(self) -> None:
        try:
            super()._do_eval()
        except BrokenImageError as error:
            raise StopTraining(str(error), error=error) from error
        trainer = self.trainer
        self.evaluated = min(trainer.iter + 1, trainer.max_iter)
        value, iteration = trainer.storage.latest().get(self.metric, (0, None))
        if iteration == trainer.storage.iter:  # only the main process knows the results
            self._compare(float(value))

    def _compare(self, value: float) -> None:
        if value > self.best:
            self.best, self.best_steps, self.waiting = value, self.evaluated, 0
            self.checkpointer.save(BEST, iteration=self.trainer.iter)
        else:  # also if it is not a number
            self.waiting += 1
        logger.info(
            f"{self.metric} is {value:.2f} after {self.evaluated} iterations. The best so far, "
            f"{self.best:.2f}, was after {self.best_steps}: {BEST}.pth."
        )

    def _stop_if_in_vain(self) -> None:
        """End the training when the patience is at its end.

        Raises:
            StopTraining: it is; ``model_final.pth`` is written.
        """
        in_vain = self.patience > 0 and self.waiting >= self.patience
        if comm.all_gather(in_vain)[0]:
            self.checkpointer.save("model_final", iteration=self.trainer.iter)
            raise StopTraining(
                f"Stopped after {self.evaluated} iterations: {self.metric} has not been better "
                f"than {self.best:.2f} for {self.patience} evaluations (TEST.PATIENCE)."
            )
