"""ImageNet weights of torchvision as ``MODEL.WEIGHTS torchvision://NAME``.

Detectron2's model zoo has no ResNeXt-101-64x4d; torchvision has one.
"""

import os
import pickle
import tempfile
from typing import Dict
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler, file_lock, get_cache_dir
from torch import Tensor

from .resnet import resnet_modules

PREFIX = "torchvision://"


def to_detectron2(state_dict: Dict[str, Tensor]) -> Dict[str, np.ndarray]:
    """Rename the parameters of a torchvision ResNet to those of Detectron2's; drop the classifier.

    Raises:
        ValueError: a parameter belongs to no layer of a ResNet.
    """
    table = dict(resnet_modules())
    renamed = {}
    for key, value in state_dict.items():
        module, _, parameter = key.rpartition(".")
        if module == "fc" or parameter == "num_batches_tracked":
            continue
        if module not in table:
            raise ValueError(f"'{key}' is no parameter of a ResNet.")
        renamed[f"{table[module]}.{parameter}"] = value.numpy()
    return renamed


class TorchvisionHandler(PathHandler):
    """Downloads the weights once, verifies the hash in their name, and converts them."""

    def _get_supported_prefixes(self):
        return [PREFIX]

    def _get_local_path(self, path, **kwargs) -> str:
        name = path[len(PREFIX) :]
        target = os.path.join(get_cache_dir(), "scnet", "torchvision", f"{name}.pkl")
        PathManager.mkdirs(os.path.dirname(target))
        with file_lock(target):
            if not os.path.exists(target):
                self._convert(name, target)
        return target

    def _open(self, path, mode="r", **kwargs):
        return open(self._get_local_path(path), mode)

    @staticmethod
    def _convert(name: str, target: str) -> None:
        try:
            weights = torchvision.models.get_model_weights(name).DEFAULT
        except ValueError as error:
            raise ValueError(f"'{PREFIX}{name}': torchvision has no model '{name}'.") from error
        try:
            state_dict = weights.get_state_dict(progress=True, check_hash=True)
        except URLError as error:
            folder = os.path.join(torch.hub.get_dir(), "checkpoints")
            raise OSError(
                f"Cannot download {weights.url} ({error.reason}). Fetch it by hand, put it into "
                f"{folder}, and start again."
            ) from error
        # Detectron2's checkpointer finds the parameters below the model's backbone by their
        # names' ends when it is told so.
        content = {
            "model": to_detectron2(state_dict),
            "__author__": "torchvision",
            "matching_heuristics": True,
        }
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(target), delete=False) as f:
            pickle.dump(content, f)
        os.replace(f.name, target)


def register() -> None:
    """Let Detectron2's PathManager understand ``torchvision://``."""
    PathManager.register_handler(TorchvisionHandler(), allow_override=True)
