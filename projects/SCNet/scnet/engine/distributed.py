"""What Detectron2's ``launch`` and PyTorch's DDP need to run processes without GPUs."""

from contextlib import contextmanager
from functools import partial

import torch
from detectron2.engine import defaults
from detectron2.utils import comm


def share_threads() -> None:
    """Divide the threads of the CPU among the processes of this machine.

    Each would take all of them otherwise, and they would wait for each other most of the time.
    """
    processes = comm.get_local_size()
    if processes > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // processes))


@contextmanager
def detectron2_trainer_on(device: str):
    """Within it, Detectron2's ``DefaultTrainer`` can be made for a device, "cpu" or "cuda".

    It names a GPU to DDP in any case, and DDP refuses that for a model that is on none. Its trainer
    for mixed precision is for GPUs, too; ours takes its place later.
    """
    create_ddp_model, amp_trainer = defaults.create_ddp_model, defaults.AMPTrainer
    if device == "cpu":
        defaults.create_ddp_model = partial(create_ddp_model, device_ids=None)
        defaults.AMPTrainer = defaults.SimpleTrainer
    try:
        yield
    finally:
        defaults.create_ddp_model, defaults.AMPTrainer = create_ddp_model, amp_trainer
