"""Ending the training before its last iteration, in good order."""

import signal
import threading

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm


class StopTraining(BaseException):
    """Ends the training loop. It is not an error, so it is not an ``Exception``."""


class StopOnSignal(HookBase):
    """Lets SIGTERM, with which clusters take a machine back, end the training after its step.

    A checkpoint is written first; ``--resume`` goes on with the next step. All processes stop
    together, whichever got the signal.
    """

    def __init__(self, checkpointer):
        """
        Args:
            checkpointer: writes the checkpoint that the training goes on from.
        """
        self.checkpointer = checkpointer
        self.received = False
        self.previous = None

    def before_train(self) -> None:
        if threading.current_thread() is threading.main_thread():  # others may not handle signals
            self.previous = signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, number, frame) -> None:
        self.received = True

    def after_step(self) -> None:
        """Stop if the signal has come.

        Raises:
            StopTraining: a process got the signal.
        """
        if not in_any_process(self.received, self.trainer.model):
            return
        iteration = self.trainer.iter
        self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        raise StopTraining(f"Stopped by SIGTERM after iteration {iteration}. Go on with --resume.")

    def after_train(self) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGTERM, self.previous)


def in_any_process(flag: bool, model: torch.nn.Module) -> bool:
    """Say whether the flag is set in one of the processes; each has to call this.

    Args:
        flag: of this process.
        model: is on the device whose tensors the processes can exchange.
    """
    if comm.get_world_size() == 1:
        return flag
    shared = torch.tensor(float(flag), device=next(model.parameters()).device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return bool(shared)
