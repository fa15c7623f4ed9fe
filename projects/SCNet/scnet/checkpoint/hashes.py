"""Files of weights against the hashes that belong to them."""

import hashlib
import os


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
