"""An exponential moving average of the weights."""

import copy

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class ExponentialMovingAverage(HookBase):
    """Keeps a second model, whose weights are averages over the steps of the training.

    After step t it has d * average + (1 - d) * weights, where d is ``decay``, or
    (1 + t) / (10 + t) as long as this is less: the first steps, from random weights, are soon
    forgotten. Buffers, such as the statistics of batch norm, are copied.

    Attributes:
        averaged: the second model.
    """

    def __init__(self, model: nn.Module, decay: float):
        """
        Args:
            model: the one that is trained.
            decay: d, between 0 and 1.

        Raises:
            ValueError: ``decay`` is not between 0 and 1.
        """
        if not 0 < decay < 1:
            raise ValueError(f"SOLVER.EMA.DECAY must be between 0 and 1, not {decay}.")
        self.model = model
        self.decay = decay
        self.averaged = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def after_step(self) -> None:
        t = self.trainer.iter
        update = get_ema_multi_avg_fn(min(self.decay, (1 + t) / (10 + t)))
        update(list(self.averaged.parameters()), list(self.model.parameters()), None)
        torch._foreach_copy_(list(self.averaged.buffers()), list(self.model.buffers()))
