"""How much memory a training takes."""

import resource
import sys

import torch
from detectron2.engine import HookBase


class PeakMemory(HookBase):
    """``peak_memory_mb``: what PyTorch allocated on the GPU, or the process took without one."""

    def after_step(self) -> None:
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**20
        else:
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peak = used / (2**20 if sys.platform == "darwin" else 2**10)  # in bytes or KiB
        self.trainer.storage.put_scalar("peak_memory_mb", peak, smoothing_hint=False)
