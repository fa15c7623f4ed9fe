"""One training step: Detectron2's, in parts and in mixed precision if asked for, and checked."""

import logging
import math
import time
from contextlib import nullcontext
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np
import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..data.broken_images import BrokenImageError
from ..seeding import STEP, seed_for
from .resume import with_hyperparameters_of

logger = logging.getLogger(__name__)

# The processes tell each other so many losses at most. The number is fixed, so that one which has
# failed before it knew its losses can take part.
MAX_LOSSES = 64


class StepTrainer(SimpleTrainer):
    """Trains one step as Detectron2's ``SimpleTrainer`` does, with five differences.

    - The random numbers of a step, those that sample regions, follow from the seed, the
      iteration and the process.
    - The gradients of several batches can be accumulated before the optimizer steps.
    - Mixed precision: float16 with a scaled loss, or bfloat16.
    - A loss that is not finite is an error that names the images, before the optimizer steps, and
      in all processes at once.
    - The processes tell each other their losses in one exchange of numbers, before the backward
      pass.

    Attributes:
        seed: of the run; a checkpoint brings its own.
        last_batch: the inputs of the last step; of its last part, if it has several.
        broken: why :meth:`load` has no batches.
        load_ahead: a step also loads the batches of the next one, so that all processes know of
            images that cannot be used before they begin it.
        skipped: the images that this process does without, and what is wrong with them.
        broken_counts: per process, how many images it had met in the last step that cannot be used.
        notice: a number of this process that all are to know, below 2^24.
        notice_of_all: the largest notice of all processes in the last step.
    """

    def __init__(
        self,
        model,
        data_loader,
        optimizer,
        *,
        parts: int = 1,
        precision: Optional[torch.dtype] = None,
        seed: int = 0,
    ):
        """
        Args:
            model, data_loader, optimizer: see :class:`detectron2.engine.SimpleTrainer`.
            parts: batches of the loader per step; their gradients are averaged.
            precision: of mixed precision, None for none.
            seed: of the run.
        """
        super().__init__(model, data_loader, optimizer)
        self.seed = seed
        self.parts = parts
        self.last_batch: List[Dict] = []
        self.broken: Optional[BrokenImageError] = None
        self.load_ahead = False
        self.skipped: Dict[str, str] = {}
        self.broken_counts: List[float] = []
        self._batches: List[List[Dict]] = []
        self._data_time = 0.0
        self.notice = self.notice_of_all = 0
        # Of this process, in this step: the batches and their losses; and what the model raised.
        self.done: List[Tuple[List[Dict], Dict[str, Tensor]]] = []
        self.failure = ""
        self.device = next(model.parameters()).device
        self.precision = precision
        # bfloat16 has the range of single precision, so its losses need no scaling.
        scale = precision == torch.float16
        self.grad_scaler = torch.amp.GradScaler(self.device.type, enabled=scale)

    def load(self) -> None:
        """Take the batches of the next step from the loader, if this was not done yet.

        A step that cannot have them is not begun: ``broken`` says why, and all processes can end.
        """
        if self._batches:
            return
        start = time.perf_counter()
        try:
            self._batches = [next(self._data_loader_iter) for _ in range(self.parts)]
        except BrokenImageError as error:
            self.broken = error.with_traceback(None)  # it would keep the loader's processes
        self._data_time = time.perf_counter() - start

    def run_step(self) -> None:
        """Take the batches of a step, and change the weights once.

        Raises:
            FloatingPointError: a loss is not finite, in this process or another; the weights are as
                before.
        """
        assert self.model.training, "The model was changed to evaluation mode."
        self.load()
        batches, self._batches, data_time = self._batches, [], self._data_time
        self.last_batch = batches[-1]
        self.done.clear()
        self.failure = ""

        self.optimizer.zero_grad()
        means: Dict[str, Tensor] = {}
        for part, batch in enumerate(batches):
            seed_for(self.seed, STEP, self.iter, part, comm.get_rank())
            # The processes exchange their gradients once per step, with the last part.
            last = part + 1 == self.parts
            alone = isinstance(self.model, DistributedDataParallel) and not last
            with self.model.no_sync() if alone else nullcontext():
                losses = self._losses(batch)
                self.done.append((batch, {name: loss.detach() for name, loss in losses.items()}))
                for name, loss in losses.items():
                    means[name] = means.get(name, 0) + loss.detach() / self.parts
                if last:
                    if self.load_ahead:  # a GPU still computes meanwhile
                        self.load()
                    self._write_metrics(means, data_time)
                if losses:
                    total: Tensor = sum(losses.values())  # type: ignore[assignment]
                    self.grad_scaler.scale(total / self.parts).backward()
        self.after_backward()
        # Before the gradients are clipped, which a fused optimizer would unscale after it.
        self.grad_scaler.unscale_(self.optimizer)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _on_device(self, batch: List[Dict]) -> List[Dict]:
        """Begin to copy images and semantic maps from pinned memory to the GPU, without waiting."""
        if self.device.type != "cuda":
            return batch
        large = ("image", "sem_seg")
        return [
            {k: v.to(self.device, non_blocking=True) if k in large else v for k, v in x.items()}
            for x in batch
        ]

    def _losses(self, batch: List[Dict]) -> Dict[str, Tensor]:
        """The losses of a part; none if the model has failed, which :meth:`_fail` raises later."""
        try:
            mixed = self.precision is not None
            with torch.autocast(self.device.type, self.precision, enabled=mixed):
                return self.model(self._on_device(batch))
        except FloatingPointError as error:  # the other processes have to know first
            if not self.failure:
                self.failure = describe_failure(str(error), batch, self.iter)
            return {}

    def _write_metrics(
        self,
        loss_dict: Mapping[str, Tensor],
        data_time: float,
        prefix: str = "",
        iter: Optional[int] = None,
    ) -> None:
        """Log what Detectron2 logs: the means of the losses over the processes, the longest wait.

        Detectron2 gathers objects; these are numbers, in one exchange, with the notice.

        Args:
            loss_dict: of this process.
            data_time: seconds that it waited for its images.

        Raises:
            FloatingPointError: in one of the processes a loss is not finite, or the model failed.
            ValueError: there are too many losses.
        """
        if len(loss_dict) > MAX_LOSSES:
            raise ValueError(f"The model has {len(loss_dict)} losses; there can be {MAX_LOSSES}.")
        iter = self.iter if iter is None else iter
        numbers = (data_time, self.notice, len(self.skipped) + (self.broken is not None))
        first = len(numbers)
        row = torch.full((first + MAX_LOSSES,), math.nan, device=self.device)
        for k, number in enumerate(numbers):
            row[k] = number
        if loss_dict and not self.failure:
            row[first : first + len(loss_dict)] = torch.stack(list(loss_dict.values()))
        rows = np.array(all_rows(row))
        self.notice_of_all = int(rows[:, 1].max())
        self.broken_counts = rows[:, 2].tolist()
        losses = rows[:, first : first + len(loss_dict)]
        if self.failure or not np.isfinite(losses).all():
            self._fail()
        storage = get_event_storage()
        storage.put_scalar("rank_data_time", data_time, cur_iter=iter)
        if comm.is_main_process():
            means = dict(zip(loss_dict, losses.mean(axis=0).tolist()))
            storage.put_scalar("data_time", rows[:, 0].max(), cur_iter=iter)
            storage.put_scalar(f"{prefix}total_loss", sum(means.values()), cur_iter=iter)
            if len(means) > 1:
                storage.put_scalars(cur_iter=iter, **means)

    def _fail(self) -> None:
        """End all processes with the message of the first that has failed; each calls this.

        Raises:
            FloatingPointError: always.
        """
        for batch, losses in self.done:
            if not self.failure and not all(torch.isfinite(x) for x in losses.values()):
                self.failure = describe_broken_losses(losses, batch, self.iter)
        messages = [message for message in comm.all_gather(self.failure) if message]
        others = len(messages) - 1
        more = f" The like has happened in {others} of the other processes." if others else ""
        raise FloatingPointError(messages[0] + more)

    def end_loading(self) -> None:
        """End the worker processes of the loader."""
        self._data_loader_iter_obj = None
        self._batches = []

    def state_dict(self) -> Dict:
        return {
            **super().state_dict(),
            "grad_scaler": self.grad_scaler.state_dict(),
            "seed": self.seed,
            "processes": comm.get_world_size(),
        }

    def load_state_dict(self, state_dict: Dict) -> None:
        """Take over the state of a run; the optimizer keeps its hyper-parameters.

        Raises:
            ValueError: the state of the optimizer does not fit.
        """
        optimizer = with_hyperparameters_of(self.optimizer, state_dict["optimizer"])
        super().load_state_dict({**state_dict, "optimizer": optimizer})
        processes, before = comm.get_world_size(), state_dict.get("processes")
        if before not in (processes, None):  # older checkpoints have none
            logger.warning(f"The run goes on with {processes} processes; before it had {before}.")
        self.seed = state_dict.get("seed", self.seed)  # older checkpoints have none
        if state_dict.get("grad_scaler") and self.grad_scaler.is_enabled():
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def all_rows(row: Tensor) -> List[List[float]]:
    """The numbers of all processes, in one exchange and one copy from the device.

    Args:
        row: those of this process, equally many in each.
    """
    if comm.get_world_size() == 1:
        return [row.tolist()]
    rows = [torch.empty_like(row) for _ in range(comm.get_world_size())]
    torch.distributed.all_gather(rows, row)
    return torch.stack(rows).tolist()


def describe_broken_losses(losses: Dict[str, Tensor], batch: List[Dict], iteration: int) -> str:
    """Write the text of the error for losses that are not finite."""
    values = {name: loss.item() for name, loss in losses.items()}
    broken = {name: value for name, value in values.items() if not math.isfinite(value)}
    others = ", ".join(f"{name} {v:.4g}" for name, v in values.items() if name not in broken)
    problem = ", ".join(f"{name} is {value}" for name, value in broken.items())
    return describe_failure(
        problem, batch, iteration, f" The other losses are: {others or 'none'}."
    )


def describe_failure(problem: str, batch: List[Dict], iteration: int, more: str = "") -> str:
    """Write the text of an error: what is not finite, in which images, and what to do."""
    images = ", ".join(str(x.get("file_name", "an image without a name")) for x in batch)
    return (
        f"{problem.rstrip('.')} at iteration {iteration}, with the images {images}.{more} The "
        "weights were not changed, and the last checkpoint is whole. Look at these images with "
        "scnet check; if they are right, go on from the last checkpoint (--resume) with a "
        "lower SOLVER.BASE_LR or with SOLVER.CLIP_GRADIENTS.ENABLED True."
    )
