"""One training step: Detectron2's, in parts and in mixed precision if asked for, and checked."""

import logging
import time
from contextlib import nullcontext
from typing import Dict, List, Optional

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..data.broken_images import BrokenImageError
from ..seeding import STEP, seed_for
from .resume import with_hyperparameters_of

logger = logging.getLogger(__name__)


class StepTrainer(SimpleTrainer):
    """Trains one step as Detectron2's ``SimpleTrainer`` does, with four differences.

    - The random numbers of a step, those that sample regions, follow from the seed, the
      iteration and the process.
    - The gradients of several batches can be accumulated before the optimizer steps.
    - Mixed precision: float16 with a scaled loss on a GPU, bfloat16 on the CPU.
    - A loss that is not finite is an error that names the images, before the optimizer steps.

    Attributes:
        seed: of the run; a checkpoint brings its own.
        last_batch: the inputs of the last step; of its last part, if it has several.
        broken: why :meth:`load` has no batches.
    """

    def __init__(
        self,
        model,
        data_loader,
        optimizer,
        *,
        parts: int = 1,
        mixed_precision: bool = False,
        seed: int = 0,
    ):
        """
        Args:
            model, data_loader, optimizer: see :class:`detectron2.engine.SimpleTrainer`.
            parts: batches of the loader per step; their gradients are averaged.
            mixed_precision: see the class.
            seed: of the run.
        """
        super().__init__(model, data_loader, optimizer)
        self.seed = seed
        self.parts = parts
        self.last_batch: List[Dict] = []
        self.broken: Optional[BrokenImageError] = None
        self._batches: List[List[Dict]] = []
        self._data_time = 0.0
        self.device = next(model.parameters()).device.type
        self.precision = torch.float16 if self.device == "cuda" else torch.bfloat16
        self.mixed_precision = mixed_precision
        # bfloat16 has the range of single precision, so its losses need no scaling.
        scale = mixed_precision and self.precision == torch.float16
        self.grad_scaler = torch.amp.GradScaler(self.device, enabled=scale)

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
            FloatingPointError: a loss is not finite; the weights are as before.
        """
        assert self.model.training, "The model was changed to evaluation mode."
        self.load()
        batches, self._batches = self._batches, []
        self.last_batch = batches[-1]

        self.optimizer.zero_grad()
        means: Dict[str, Tensor] = {}
        for part, batch in enumerate(batches):
            seed_for(self.seed, STEP, self.iter, part, comm.get_rank())
            # The processes exchange their gradients once per step, with the last part.
            alone = isinstance(self.model, DistributedDataParallel) and part + 1 < self.parts
            with self.model.no_sync() if alone else nullcontext():
                with torch.autocast(self.device, self.precision, enabled=self.mixed_precision):
                    losses = self.model(batch)
                total = sum(losses.values())
                if not torch.isfinite(total):
                    raise FloatingPointError(describe_broken_losses(losses, batch, self.iter))
                self.grad_scaler.scale(total / self.parts).backward()
            for name, loss in losses.items():
                means[name] = means.get(name, 0) + loss.detach() / self.parts
        self.after_backward()
        self._write_metrics(means, self._data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

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


def describe_broken_losses(losses: Dict[str, Tensor], batch: List[Dict], iteration: int) -> str:
    """Write the text of the error for losses that are not finite."""
    values = {name: loss.item() for name, loss in losses.items()}
    broken = [name for name, loss in losses.items() if not torch.isfinite(loss)]
    others = ", ".join(f"{name} {v:.4g}" for name, v in values.items() if name not in broken)
    images = ", ".join(str(x.get("file_name", "an image without a name")) for x in batch)
    return (
        f"{', '.join(f'{name} is {values[name]}' for name in broken)} at iteration {iteration}, "
        f"with the images {images}. The other losses are: {others or 'none'}. The weights were not "
        "changed, and the last checkpoint is whole. Look at these images with check_dataset.py; "
        "if they are right, go on from the last checkpoint (--resume) with a lower "
        "SOLVER.BASE_LR or with SOLVER.CLIP_GRADIENTS.ENABLED True."
    )
