"""Ctrl-C and SIGTERM end a long run between two images, so that what it writes is whole."""

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType
from typing import Dict, Iterable, Iterator, Optional, TypeVar

T = TypeVar("T")


class Interrupts(AbstractContextManager):
    """Receives SIGINT (Ctrl-C) and SIGTERM (what "docker stop" sends) within its context.

    They interrupt the wait for the next item of :meth:`until_interrupted`, and nothing else.

    Attributes:
        received: the number of the last signal that came; None if none did.
    """

    def __init__(self) -> None:
        self.received: Optional[int] = None
        self.waiting = False
        self.before: Dict[int, object] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():  # others get no signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, _: Optional[FrameType]) -> None:
        self.received = number
        if self.waiting:
            raise KeyboardInterrupt

    def until_interrupted(self, items: Iterable[T]) -> Iterator[T]:
        """Give the items, until a signal comes."""
        iterator = iter(items)
        while self.received is None:
            try:
                self.waiting = True
                item = next(iterator)
                self.waiting = False
            except StopIteration:
                return
            except KeyboardInterrupt:
                self.received = self.received or signal.SIGINT
                return
            finally:
                self.waiting = False
            yield item
