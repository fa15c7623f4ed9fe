"""Making many objects without Python looking for garbage among them all the time."""

import gc
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def paused_collector() -> Iterator[None]:
    """Within it, Python does not look for objects that refer to each other and to nothing else.

    The more objects there are, the longer it looks, so that the json file of a large data set takes
    half as long without. All other objects are freed as always. It is a decorator, too.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
