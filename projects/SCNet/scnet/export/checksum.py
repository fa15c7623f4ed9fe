"""A checksum in ONNX files, so that bits that have changed are noticed.

ONNX has none. TorchScript's zip format has one per part.

A file is the model, as PyTorch writes it, followed by its metadata: parts of a protobuf message may
follow each other. The checksum is of the model and of the metadata without these two entries:
"graph_bytes", the length of the former, and "sha256".
"""

import hashlib
import json
from typing import IO, Dict

KEYS = {"graph_bytes", "sha256"}
CHUNK = 1 << 20


def with_checksum(metadata: Dict, file: IO[bytes], graph_bytes: int) -> Dict:
    """Add "graph_bytes" and "sha256" to the metadata of a model.

    Args:
        metadata: as json has it.
        file: is read from its start.
        graph_bytes: how many of its bytes are the model.
    """
    digest = hashlib.sha256(json.dumps(metadata).encode())
    for start in range(0, graph_bytes, CHUNK):
        digest.update(file.read(min(CHUNK, graph_bytes - start)))
    return {**metadata, "graph_bytes": graph_bytes, "sha256": digest.hexdigest()}


def check(metadata: Dict, path: str) -> Dict:
    """Compare a file with the checksum in its metadata.

    Returns:
        the metadata without what :func:`with_checksum` has added.

    Raises:
        ValueError: the file has changed since it was written.
    """
    plain = {key: value for key, value in metadata.items() if key not in KEYS}
    with open(path, "rb") as f:
        expected = with_checksum(plain, f, int(metadata.get("graph_bytes", 0)))
    if expected != metadata:
        raise ValueError(
            "its checksum is wrong, so it has changed since it was written; if you changed it on "
            "purpose, remove 'graph_bytes' and 'sha256' from its metadata"
        )
    return plain
