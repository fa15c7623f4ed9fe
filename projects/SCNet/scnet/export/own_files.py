"""Which TorchScript files this user has exported on this machine.

TorchScript is a program: it can write files while it is loaded and while it runs. So a file is
loaded unasked only if it is one that was written here. Their checksums are the names of empty files
in a folder that is the user's alone.
"""

import hashlib
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

OTHERS_MAY_WRITE = 0o022


def remember(path: str) -> None:
    """Note the checksum of a file that was just written; where that fails, a warning says so."""
    try:
        folder = record_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / hashlib.sha256(Path(path).read_bytes()).hexdigest()).touch()
    except (OSError, RuntimeError) as error:  # the latter where there is no home
        logger.warning(
            f"That '{path}' was written here could not be noted ({error}), so it will be loaded "
            "only if you say that you trust it: MODEL.TRUST_WEIGHTS True."
        )


def is_own(content: bytes) -> bool:
    """Whether a file with this content was written here; False where that is not known."""
    try:
        folder = record_folder()
        return is_private(folder) and (folder / hashlib.sha256(content).hexdigest()).is_file()
    except (OSError, RuntimeError):
        return False


def record_folder() -> Path:
    """The folder of the checksums.

    Raises:
        RuntimeError: the user has no home.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "scnet", "exported")


def is_private(folder: Path) -> bool:
    """Whether a folder is the user's, and nobody else may write in it; on Windows homes are.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    status = folder.lstat()
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & OTHERS_MAY_WRITE
