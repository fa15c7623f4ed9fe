"""The memory that a training takes, for the log."""

import torch
from detectron2.engine import HookBase

from ...peak_memory import peak_memory


class PeakMemory(HookBase):
    """Reports ``peak_memory_mb`` in MiB: what PyTorch allocated on the GPU, or else the process.

    Without a GPU on Windows nothing is reported.
    """

    def after_step(self) -> None:
        on_gpu = torch.cuda.is_available()
        peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_memory()
        if peak is not None:
            self.trainer.storage.put_scalar("peak_memory_mb", peak, smoothing_hint=False)
