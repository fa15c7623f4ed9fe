"""Metrics and logs of a training whose disk is full for a time: they pause, and it goes on.

What was trained is in the memory, and the next checkpoint says whether it can be kept.
"""

import atexit
import logging
import os
import sys
import threading
from functools import partial
from typing import IO, Set

from detectron2.utils.events import EventWriter

logger = logging.getLogger(__name__)
LOGGERS = ("fvcore", "detectron2", "scnet")  # whose messages the log of a run has


class PatientWriter(EventWriter):
    """Writes metrics as another writer does; if that cannot, the log says so once."""

    def __init__(self, writer: EventWriter, folder: str) -> None:
        """
        Args:
            writer: one of Detectron2's.
            folder: that it writes to, for the log.
        """
        self.writer = writer
        self.folder = folder
        self.fails = False

    def write(self) -> None:
        try:
            self.writer.write()
            self.fails = False
        except OSError as error:
            self._say(error)

    def close(self) -> None:
        try:
            self.writer.close()
        except OSError as error:
            self._say(error)

    def _say(self, error: OSError) -> None:
        if not self.fails:
            logger.warning(
                f"{type(self.writer).__name__} cannot write to '{self.folder}': {error}. The "
                "training goes on, but a checkpoint needs room, too."
            )
        self.fails = True
        # TensorBoard's thread has ended: the next write begins a new file with a new thread.
        vars(self.writer).pop("_writer", None)


def let_writing_pause() -> None:
    """Let what cannot be written be said once and in one sentence, and be written again later."""
    let_log_files_pause()
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _except_of_tensorboard


def _except_of_tensorboard(args: threading.ExceptHookArgs) -> None:
    """Print the error of a thread, but not TensorBoard's: :class:`PatientWriter` says it."""
    of_tensorboard = type(args.thread).__module__.partition(".")[0] == "tensorboard"
    if not (of_tensorboard and isinstance(args.exc_value, OSError)):
        threading.__excepthook__(args)


def let_log_files_pause() -> None:
    """Let the handlers of log files say once, and in one sentence, that they cannot write.

    Python's own handlers would print a traceback for each line.
    """
    said: Set[IO] = set()  # several handlers may have one file

    def handle_error(handler: logging.StreamHandler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.Handler.handleError(handler, record)
        elif handler.stream not in said:
            said.add(handler.stream)
            print(f"The log '{handler.stream.name}' cannot be written: {error}.", file=sys.stderr)

    for name in LOGGERS:
        for handler in logging.getLogger(name).handlers:
            if not isinstance(handler, logging.StreamHandler):
                continue
            if handler.stream not in (sys.stdout, sys.stderr):
                handler.handleError = partial(handle_error, handler)  # type: ignore[method-assign]
                atexit.register(_drop_the_rest, handler.stream)


def _drop_the_rest(stream: IO) -> None:
    """Drop what still cannot be written, which closing the file would try again."""
    try:
        if not stream.closed:
            stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
