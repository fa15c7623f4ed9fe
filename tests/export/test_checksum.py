import io

import pytest

from scnet.export import checksum
from scnet.export.checksum import check, with_checksum


def test_every_byte_of_the_model_and_every_entry_count(tmp_path, monkeypatch):
    """In a file that is read in several parts. What follows the model, its metadata, does not."""
    monkeypatch.setattr(checksum, "CHUNK", 8)
    path, plain = tmp_path / "model.onnx", {"class_names": ["a", "ç"]}
    model = bytes(range(20))
    path.write_bytes(model)
    metadata = with_checksum(plain, io.BytesIO(model), len(model))
    path.write_bytes(model + b"metadata")
    assert check(metadata, path) == plain
    for place in range(len(model)):
        path.write_bytes(model[:place] + b"\xff" + model[place + 1 :] + b"metadata")
        with pytest.raises(ValueError, match="checksum is wrong"):
            check(metadata, path)
    path.write_bytes(model + b"metadata")
    changes = {"class_names": ["b"], "graph_bytes": 19, "sha256": "0" * 64, "more": 1}
    for key, value in changes.items():
        with pytest.raises(ValueError, match="checksum is wrong"):
            check({**metadata, key: value}, path)
    for key in checksum.KEYS:
        with pytest.raises(ValueError, match="checksum is wrong"):
            check({k: v for k, v in metadata.items() if k != key}, path)
