"""Ending the training before its last iteration, in good order."""

import signal
import sys
import threading
from typing import Any, Dict, Optional

from detectron2.engine import HookBase
from detectron2.utils import comm

from ..step import StepTrainer

# SIGTERM: a cluster takes the machine back; SIGHUP: the terminal is closed; SIGINT: Ctrl-C.
SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)
]


class StopTraining(BaseException):
    """Ends the training loop. It is not an error, so it is not an ``Exception``.

    Attributes:
        signal: that ended it, or None.
        error: that ended it, or None.
    """

    def __init__(
        self,
        reason: str,
        number: Optional[signal.Signals] = None,
        error: Optional[Exception] = None,
    ):
        super().__init__(reason)
        self.signal = number
        self.error = error


class StopOnSignal(HookBase):
    """Lets a signal end the training after its step; see :data:`SIGNALS`.

    A checkpoint is written first; ``--resume`` goes on with the next step. All processes stop
    together, whichever got the signal. A second Ctrl-C ends the process at once.
    """

    def __init__(self, checkpointer: Any, step: StepTrainer) -> None:
        """
        Args:
            checkpointer: writes the checkpoint that the training goes on from.
            step: tells the other processes.
        """
        self.checkpointer = checkpointer
        self.step = step
        self.received: Optional[signal.Signals] = None
        self.previous: Dict[signal.Signals, Any] = {}

    def before_train(self) -> None:
        if threading.current_thread() is threading.main_thread():  # others may not handle signals
            self.previous = {x: signal.signal(x, self._receive) for x in SIGNALS}

    def _receive(self, number, frame) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received != signal.SIGINT:  # of Ctrl-C other processes may tell by SIGTERM
            self.received = signal.Signals(number)
            self.step.notice = int(number)
        if number == signal.SIGINT and comm.is_main_process():
            # Not by the log, whose lock the interrupted code may hold.
            print(
                "\nThe training ends after this step, with a checkpoint. Press Ctrl-C again to end "
                "it at once.",
                file=sys.stderr,
            )

    def after_step(self) -> None:
        """Stop if a signal has come.

        Raises:
            StopTraining: a process got the signal.
        """
        # Of several processes one may get the signal when the others have passed this point. So it
        # counts when they have told each other, in the middle of a step.
        alone = comm.get_world_size() == 1
        number = self.received if alone else self.step.notice_of_all
        if not number:
            return
        iteration = self.trainer.iter
        self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        name = signal.Signals(number).name
        raise StopTraining(
            f"Stopped by {name} after iteration {iteration}. Go on with --resume.",
            signal.Signals(number),
        )

    def after_train(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
