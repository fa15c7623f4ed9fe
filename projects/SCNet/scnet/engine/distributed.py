"""What the processes of a training share: the threads of the CPU, and the model that counts."""

import torch
from detectron2.utils import comm
from torch import nn


def share_threads() -> None:
    """Divide the threads of the CPU among the processes of this machine.

    Each would take all of them otherwise, and they would wait for each other most of the time.
    """
    processes = comm.get_local_size()
    if processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))


def broadcast_buffers(model: nn.Module) -> None:
    """Give all processes the buffers of the first one, whose model is that of the checkpoint.

    Parameters are the same everywhere, but Detectron2 lets every process keep the running
    statistics of its own images. They have no part in training.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)
