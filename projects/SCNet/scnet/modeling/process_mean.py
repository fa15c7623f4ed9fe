"""Means that several processes share."""

from typing import Union

import torch
from detectron2.utils import comm
from torch import Tensor


def mean_over_processes(count: Union[float, Tensor], device: torch.device) -> Tensor:
    """The mean of a count over all processes.

    A loss is a mean over samples. Distributed training averages the gradients of the processes, so
    a sample in a process with few of them would weigh more. A sum that is divided by this mean
    gives the same gradients as all samples in one process. The authors, like Detectron2, divide
    by the count of each process.

    Every process has to call this equally often.

    Args:
        count: of the samples in this process.

    Returns:
        a scalar, at least 1, so that a sum over no samples can be divided by it.
    """
    if not isinstance(count, Tensor):  # written by the device itself, which does not wait for it
        count = torch.full((), count, device=device)
    mean = count.to(device, torch.float32, copy=True)
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(mean)
        mean /= comm.get_world_size()
    return mean.clamp(min=1)


def share(count: int, device: torch.device) -> Tensor:
    """What the mean over ``count`` samples of this process is to be multiplied with.

    It is 1 in a single process; see :func:`mean_over_processes`.
    """
    return count / mean_over_processes(count, device)
