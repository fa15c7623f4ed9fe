"""A process that was forked after a predictor had used several threads says so; it would hang.

The threads of PyTorch (of OpenMP) are not copied by a fork, and the new process waits for them for
ever: https://github.com/pytorch/pytorch/issues/17199. What ran without a predictor is not known
here.
"""

import os

import torch

used_threads = False  # by a predictor in this process
lost_threads = False  # which a predictor had used before this process was forked


def note_threads() -> None:
    """Note that a predictor is about to use the threads of PyTorch.

    Raises:
        RuntimeError: it would wait for ever, because they were lost in a fork.
    """
    global used_threads
    several = torch.get_num_threads() > 1
    if several and lost_threads:
        raise RuntimeError(
            "This process was forked after a Predictor had used several threads. They do not exist "
            "here, and PyTorch would wait for them for ever. Start processes without forking, as "
            "multiprocessing.get_context('spawn') does; or call torch.set_num_threads(1) here."
        )
    used_threads = used_threads or several


def _after_fork() -> None:
    global lost_threads
    lost_threads = lost_threads or used_threads


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_after_fork)
