"""The statistics of batch norm, computed from many batches before a model is evaluated."""

import copy
import logging
from itertools import islice

from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from ...data.broken_images import BrokenImageError
from ...data.train_loader import TrainLoader
from .broken_images import WatchBrokenImages

logger = logging.getLogger(__name__)


class PreciseBatchNorm(HookBase):
    """Computes these statistics when Detectron2's ``PreciseBN`` does, but from other batches.

    The batches are the next ones of the training. So the statistics follow from the seed and the
    iteration, as all of a run does. Images that cannot be used are treated as those of a step, and
    leave the model as it is.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: TrainLoader,
        watch: WatchBrokenImages,
        *,
        period: int,
        num_batches: int,
        batches_per_step: int,
    ):
        """
        Args:
            model: gets the statistics.
            loader: of the training; it stays where it is.
            watch: learns of images that cannot be used.
            period: iterations from one time to the next; 0: only after the last iteration.
            num_batches: that they are computed from.
            batches_per_step: that a step of the training takes.
        """
        self.model = model
        self.loader = loader
        self.watch = watch
        self.period = period
        self.num_batches = num_batches
        self.batches_per_step = batches_per_step
        if not get_bn_modules(model):
            logger.warning(
                "TEST.PRECISE_BN changes nothing: no statistics of batch norm are trained in this "
                "model (see MODEL.SCNET.FREEZE_BN_STATISTICS, and NORM of its parts)."
            )

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self.period > 0 and done % self.period == 0):
            self.update(done)

    def update(self, iterations: int) -> None:
        """Compute the statistics.

        Args:
            iterations: that the training has done.

        Raises:
            StopTraining: images cannot be used. A checkpoint of the model as it was is written.
        """
        if not get_bn_modules(self.model):
            return
        logger.info(f"Computing the statistics of batch norm from {self.num_batches} batches.")
        model = copy.deepcopy(self.model)  # an image may turn out to be broken half-way
        batches = self.loader.starting_at(iterations * self.batches_per_step)
        broken = None
        try:
            with EventStorage():  # what a model logs in training is not wanted
                update_bn_stats(model, islice(batches, self.num_batches), self.num_batches)
            self.model.load_state_dict(model.state_dict())
        except BrokenImageError as error:
            broken = error.with_traceback(None)
        self.watch.look(broken)
