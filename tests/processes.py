"""Processes that begin with PyTorch and Detectron2 imported.

A new Python takes seconds for these imports. One server imports them, once for all tests of a
worker of pytest, and each process is a fork of this server: it has no threads and no state of
another test. This package is not among them: it reads where the data sets are on import.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing import get_context, set_start_method
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
IMPORTED = ["detectron2.engine", "jinja2", "matplotlib.figure", "torch.utils.tensorboard"]


def start(*args, log, env=None):
    """Start a script, or "-m" and a module, with its arguments, from the repository's folder.

    Its ranks are forked, too, where Detectron2 spawns them.

    Args:
        log: a path, to which goes all that it prints.
        env: all variables of its environment; by default those of this process.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    args = [str(x) for x in args]
    process = context.Process(target=_run, args=(args, str(log), dict(env or os.environ)))
    process.start()
    return process


def run(*args, env=None) -> subprocess.CompletedProcess:
    """Start a script and wait for its end; ``stdout`` has its errors, too."""
    with tempfile.NamedTemporaryFile() as log:
        process = start(*args, log=log.name, env=env)
        process.join()
        text = Path(log.name).read_text(errors="replace")
    return subprocess.CompletedProcess(args, process.exitcode, text)


def _run(args, log, env):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(REPOSITORY)
    tempfile.tempdir = None  # TMPDIR may be another one
    # A child of a fork server would start its own processes, such as those that load data, with
    # another one. Those of users are started as is usual on their system.
    set_start_method(None, force=True)
    spawn = torch.multiprocessing.start_processes
    torch.multiprocessing.start_processes = lambda *args, **kwargs: spawn(
        *args, **{**kwargs, "start_method": "fork"}
    )
    if args[0] == "-m":
        sys.argv = args[1:]
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = args
        runpy.run_path(args[0], run_name="__main__")
