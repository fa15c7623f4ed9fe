"""Getting ImageNet weights of torchvision by their names (``torchvision://``).

Detectron2's model zoo has no ResNeXt-101-64x4d; torchvision has one.
"""

import os
import pickle
from typing import Any, Dict, Mapping
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from torch import Tensor

from ..modeling.backbone.pixel_statistics import IMAGENET
from .converted import ConvertedWeightsHandler
from .hashes import verify_hash
from .reading import read_torch
from .resnet import resnet_modules

# What these weights were trained on, as files of Detectron2 say it.
IMAGENET_PIXELS = {"pixel_mean": np.array(IMAGENET.mean), "pixel_std": np.array(IMAGENET.std)}
AGAIN = "Delete it and fetch it again."


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


def is_resnet(weights: Mapping[str, Any]) -> bool:
    """Whether weights are those of a ResNet or ResNeXt as torchvision and timm have them."""
    modules = {name.rpartition(".")[0] for name in weights} - {"fc"}
    return "layer1.0.conv1" in modules and modules <= dict(resnet_modules()).keys()


class TorchvisionHandler(ConvertedWeightsHandler):
    """Downloads the weights, verifies the hash in their name, and converts them.

    Raises:
        ValueError: torchvision has no model of the name, it is no ResNet, or the file is not what
            its hash says.
        OSError: without network; the message says what to fetch and where to put it.
    """

    prefix = "torchvision://"
    suffix = ".pkl"

    def convert(self, name: str, folder: str) -> bytes:
        try:
            weights = torchvision.models.get_model_weights(name).DEFAULT
        except ValueError as error:
            raise ValueError(f"'{self.prefix}{name}': torchvision has no such model.") from error
        state_dict = read_torch(self._official_file(weights.url), trust=AGAIN)
        # Told to, Detectron2's checkpointer finds the parameters below the model's backbone by
        # the ends of their names.
        content = {
            "model": {**to_detectron2(state_dict), **IMAGENET_PIXELS},
            "__author__": "torchvision",
            "matching_heuristics": True,
        }
        return pickle.dumps(content)

    @staticmethod
    def _official_file(url: str) -> str:
        """Find the file in the cache of PyTorch Hub, or else download it.

        Raises:
            OSError: without network.
            ValueError: see :func:`scnet.checkpoint.hashes.verify_hash`.
        """
        folder = os.path.join(torch.hub.get_dir(), "checkpoints")
        path = os.path.join(folder, os.path.basename(url))
        if not os.path.exists(path):
            os.makedirs(folder, exist_ok=True)
            try:
                torch.hub.download_url_to_file(url, path)
            except URLError as error:
                raise OSError(
                    f"Cannot download {url} ({error.reason}). Fetch it by hand, put it into "
                    f"{folder}, and start again."
                ) from error
        verify_hash(path)
        return path
