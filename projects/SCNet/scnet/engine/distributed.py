"""What the processes of a training share: threads of the CPU, what one knows, the model."""

from functools import partial
from typing import Callable, TypeVar

import torch
from detectron2.utils import comm
from torch import nn

from ..data.once_per_machine import from_first_process

Result = TypeVar("Result")


def share_threads() -> None:
    """Divide the threads of the CPU among the processes of this machine.

    Each would take all of them otherwise, and they would wait for each other most of the time.
    """
    processes = comm.get_local_size()
    if processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))


def on_main_process(function: Callable[..., Result], *args) -> Result:
    """Call a function in the first process alone; all processes call this.

    Args:
        function, args: what it returns or raises can be pickled.

    Returns:
        what the function returned, in each process.

    Raises:
        Exception: what the function raised, in each process.
    """
    return from_first_process(partial(function, *args), comm.is_main_process())


def broadcast_buffers(model: nn.Module) -> None:
    """Give all processes the buffers of the first one, whose model is that of the checkpoint.

    Parameters are the same everywhere, but Detectron2 lets every process keep the running
    statistics of its own images. They have no part in training.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)
