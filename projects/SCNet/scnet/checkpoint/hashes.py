"""Files of weights against the hashes that belong to them."""

import hashlib
import logging
import os
import re

logger = logging.getLogger(__name__)


def sha256(path: str) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify_hash(path: str, expected: str = "") -> None:
    """Compare a file with the digits that its SHA-256 begins with.

    Args:
        path: of the file.
        expected: the digits; by default those in its name (NAME-xxxxxxxx.pth).

    Raises:
        ValueError: they differ.
    """
    expected = expected or os.path.splitext(path)[0].rpartition("-")[2]
    found = sha256(path)
    if not found.startswith(expected):
        raise ValueError(
            f"'{path}' is damaged or another file: its SHA-256 begins with {found[:8]}, not "
            f"{expected[:8]}. Delete it and fetch it again."
        )


def verify_as_kept(path: str) -> None:
    """Compare a file in the cache of huggingface_hub with the hash that it is kept under.

    Large files are kept under their SHA-256, others under a hash of git; on systems without
    symbolic links under neither. Where it is not known, the log says so.

    Raises:
        ValueError: they differ.
    """
    kept_as = os.path.basename(os.path.realpath(path))
    if re.fullmatch("[0-9a-f]{64}", kept_as):
        verify_hash(path, kept_as)
    else:
        logger.warning(f"The hash of '{path}' is not known, so the file was not verified.")
