"""A lock on OUTPUT_DIR, so that two trainings never write into one."""

import logging
import os
import socket
from typing import Dict, TextIO

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "run.lock"
_held: Dict[str, TextIO] = {}

logger = logging.getLogger(__name__)


def lock_run(folder: str) -> None:
    """Lock a folder for this process, until :func:`unlock_run` or the end of the process.

    The lock is one of POSIX's: the system takes it from a process that dies, no child process
    inherits it, and it works over NFS where the server has its lock service. Where a folder cannot
    be locked the log says so.

    Args:
        folder: exists. If this process has locked it already, nothing happens.

    Raises:
        FileExistsError: another process has locked it.
        OSError: the lock's file cannot be written.
    """
    path = os.path.abspath(os.path.join(folder, NAME))
    if path in _held:
        return
    if fcntl is None:
        logger.warning(f"OUTPUT_DIR '{folder}' is not locked: do not start two trainings in it.")
        return
    file = open(path, "a+")  # noqa: SIM115  closed by unlock_run: that gives the lock back
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        owner = file.read().strip() or "an unknown process"
        file.close()
        raise FileExistsError(
            f"OUTPUT_DIR '{folder}' is in use by another training, {owner}. Wait for its end, or "
            "choose another directory: OUTPUT_DIR path/to/dir."
        ) from error
    except OSError as error:
        file.close()
        logger.warning(
            f"OUTPUT_DIR '{folder}' cannot be locked ({error}): do not start two trainings in it."
        )
        return
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held[path] = file


def unlock_run(folder: str) -> None:
    """Give the lock of a folder back, if this process has it."""
    file = _held.pop(os.path.abspath(os.path.join(folder, NAME)), None)
    if file is not None:
        file.close()
