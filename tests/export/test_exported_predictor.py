"""The Predictor with exported files: the same as with the weights that they were made of."""

import numpy as np
import pytest
import torch
from detectron2.data.catalog import Metadata

from helpers import NAMES
from scnet import Predictor
from scnet.export import WRITERS, compare


@pytest.mark.slow
@pytest.mark.parametrize("name, ending", [("torchscript", ".ts"), ("onnx", ".onnx")])
def test_same_detections(make_detector, tiny_cfg, tmp_path, name, ending):
    """Of images that are resized, whose channels are put in order."""
    model = make_detector(opts=["INPUT.MIN_SIZE_TEST", 72, "INPUT.FORMAT", "RGB"])
    model.metadata = Metadata(thing_classes=NAMES)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    metadata = {
        "class_names": NAMES,
        "input_format": "RGB",
        "min_size_test": 72,
        "max_size_test": tiny_cfg.INPUT.MAX_SIZE_TEST,
        "max_pixels": 1234,
    }
    file = str(tmp_path / f"model{ending}")
    WRITERS[name](model, file, metadata)
    plain, exported = Predictor(str(tmp_path / "model.pth"), tiny_cfg), Predictor(file)
    assert exported.names == NAMES and exported.backend.max_pixels == 1234
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (*size, 3), np.uint8) for size in ((60, 80), (48, 52))]
    for expected, found in zip(plain.stream(images), exported.stream(images)):
        assert len(expected) > 1 and found.image_size == expected.image_size
        deviation = compare(expected, found)
        assert not deviation.is_large(), deviation
    swapped = [image[:, :, ::-1] for image in images]
    assert compare(exported(swapped[0]), plain(images[0])).is_large()


@pytest.mark.parametrize("ending", [".ts", ".onnx"])
def test_the_device_of_a_file_cannot_be_chosen(tmp_path, ending):
    with pytest.raises(ValueError, match=f"'cuda' cannot be chosen for .*model{ending}"):
        Predictor(str(tmp_path / f"model{ending}"), device="cuda")
