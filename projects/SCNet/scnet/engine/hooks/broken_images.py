"""Broken images of a training: its end in good order, or a record of what it did without."""

import logging
from typing import Any, Dict, List, Optional

from detectron2.engine import HookBase
from detectron2.utils import comm

from ...data.broken_images import BrokenImageError, names
from ...data.train_loader import TrainLoader
from ..step import StepTrainer
from .stop import StopTraining

logger = logging.getLogger(__name__)


class WatchBrokenImages(HookBase):
    """Ends the training before a step whose images cannot be used; see ON_BROKEN_IMAGE.

    The images of a step are loaded within the step before it. So a checkpoint of all that
    was trained can be written, and all processes end together, whichever met the image. With
    "skip", the log names each image that was skipped, and the metrics count them
    ("broken_images").

    Attributes:
        broken: the images that all processes have met since this start, and what is wrong.
    """

    def __init__(self, checkpointer: Any, step: StepTrainer, loader: TrainLoader):
        """
        Args:
            checkpointer: writes the checkpoint that the training goes on from.
            step: loads the images.
            loader: knows those that were replaced.
        """
        self.checkpointer = checkpointer
        self.step = step
        self.loader = loader
        self.broken: Dict[str, str] = {}
        self.counts: List[float] = []
        step.skipped = loader.broken

    def before_train(self) -> None:
        """Load the images of the first step.

        Raises:
            StopTraining: they cannot be used.
        """
        if self.trainer.start_iter < self.trainer.max_iter:
            self.step.load()
            error = self._share(self.step.broken)
            self.counts = [0.0] * comm.get_world_size()
            if error:
                raise StopTraining(str(error), error=error)

    def after_step(self) -> None:
        """Look at the images that the trainer has loaded for the next step.

        Raises:
            StopTraining: they cannot be used. A checkpoint is written.
        """
        error = None
        if self.step.broken_counts != self.counts:
            self.counts = self.step.broken_counts
            error = self._share(self.step.broken)
        if self.loader.skips:
            count = len(self.broken)
            self.trainer.storage.put_scalar("broken_images", count, smoothing_hint=False)
        if error:
            self._end(error)

    def look(self, broken: Optional[BrokenImageError]) -> None:
        """Look at images that were loaded for something else than a step; all processes call this.

        Args:
            broken: why this process cannot use them.

        Raises:
            StopTraining: a process cannot. A checkpoint is written.
        """
        error = self._share(broken)
        if error:
            self._end(error)

    def _end(self, error: BrokenImageError) -> None:
        iteration = self.trainer.iter
        self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        raise StopTraining(str(error), error=error)

    def after_train(self) -> None:
        if self.broken and self.loader.skips:
            logger.warning(
                f"{len(self.broken)} images of the training could not be used, and were skipped "
                f"(DATALOADER.ON_BROKEN_IMAGE): {names(self.broken)}."
            )

    def _share(self, broken: Optional[BrokenImageError]) -> Optional[BrokenImageError]:
        """Let all processes know what each has met; returns the error that ends the training."""
        found = {k: v for k, v in self.loader.broken.items() if k not in self.broken}
        before = set(self.broken)
        ends = False
        for others, end in comm.all_gather((found, broken is not None)):
            self.broken.update(others)
            ends |= end
        for name, reason in self.broken.items():
            if name not in before and self.loader.skips:
                logger.warning(f"'{name}' is skipped. {reason}")
        too_many = len(self.broken) > self.loader.most_to_skip
        return BrokenImageError(self.broken) if ends or too_many else None
