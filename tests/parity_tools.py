"""What the parity tests share: reading the reference's numbers and comparing ours with them."""

import json
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Dict

import numpy as np
import torch

DEVIATIONS = defaultdict(float)
UNITS = {}


class Reference:
    """A file of numbers of the reference implementation; tests/parity/README.md lists the entries.

    reference["direct/stage0/cls_logits"] is an array.
    """

    def __init__(self, path: Path):
        self._arrays = np.load(path)

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def __getitem__(self, key: str) -> np.ndarray:
        return self._arrays[key]

    def json(self, key: str):
        return json.loads(self[key].tobytes())

    def masks(self, key: str, part: str = "") -> np.ndarray:
        """Masks (R, H, W), bool, of the entries `key`_bits`part` and `key`_shape`part`."""
        shape = self[f"{key}_shape{part}"]
        bits = np.unpackbits(self[f"{key}_bits{part}"], count=int(np.prod(shape)))
        return bits.reshape(shape).astype(bool)

    def state_dict(self) -> Dict[str, torch.Tensor]:
        """Weights, float32, by the reference's names.

        A vector is stored whole. Of a larger weight only the scale is: the weight is the scale
        times standard normal numbers, which NumPy's frozen generator RandomState draws anew from
        the CRC-32 of the weight's name.
        """
        weights = {}
        for name, shape, scale in self.json("spec")["weights"]:
            if scale is None:
                weight = self[f"small/{name}"].reshape(shape)
            else:
                draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal
                weight = draw(shape).astype(np.float32) * np.float32(scale)
            weights[name] = torch.from_numpy(weight)
        return weights


def image_tensor(reference, key):
    """An image of a reference (BGR) as the mapper would give it (RGB, 3 x H x W)."""
    return torch.as_tensor(reference[key][:, :, ::-1].transpose(2, 0, 1).astype("float32"))


def match(instances, boxes, labels):
    """For each reference detection the index of ours with its label and nearest box."""
    ours = instances.pred_boxes.tensor.numpy()
    same_label = instances.pred_classes.numpy()[None] == labels[:, None]
    distance = np.abs(ours[None] - boxes[:, None, :4]).max(axis=2)
    distance[~same_label] = np.inf
    index = distance.argmin(axis=1)
    return index, distance.min(axis=1)


def note(quantity, value, unit):
    DEVIATIONS[quantity] = max(DEVIATIONS[quantity], float(value))
    UNITS[quantity] = unit


def assert_close(quantity, ours, reference, relative):
    """Compare tensors; the deviation is relative to the largest value of the reference."""
    ours = ours.detach().numpy() if isinstance(ours, torch.Tensor) else np.asarray(ours)
    assert ours.shape == reference.shape, f"{quantity}: {ours.shape}, not {reference.shape}"
    deviation = np.abs(ours - reference).max() / max(np.abs(reference).max(), 1e-12)
    note(quantity, deviation, "relative")
    assert deviation <= relative, f"{quantity} is off by {deviation:.2e}"
