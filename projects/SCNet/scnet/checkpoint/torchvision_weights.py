"""Getting ImageNet weights of torchvision by their names (``torchvision://``).

Detectron2's model zoo has no ResNeXt-101-64x4d; torchvision has one.
"""

import os
import pickle
from typing import Dict
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from torch import Tensor

from .converted import ConvertedWeightsHandler
from .resnet import resnet_modules


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


class TorchvisionHandler(ConvertedWeightsHandler):
    """Downloads the weights, verifies the hash in their name, and converts them.

    Raises:
        ValueError: torchvision has no model of the name, or it is no ResNet.
        OSError: without network; the message says what to fetch and where to put it.
    """

    prefix = "torchvision://"
    suffix = ".pkl"

    def convert(self, name: str, folder: str) -> bytes:
        try:
            weights = torchvision.models.get_model_weights(name).DEFAULT
        except ValueError as error:
            raise ValueError(f"'{self.prefix}{name}': torchvision has no such model.") from error
        try:
            state_dict = weights.get_state_dict(progress=True, check_hash=True)
        except URLError as error:
            downloads = os.path.join(torch.hub.get_dir(), "checkpoints")
            raise OSError(
                f"Cannot download {weights.url} ({error.reason}). Fetch it by hand, put it into "
                f"{downloads}, and start again."
            ) from error
        # Told to, Detectron2's checkpointer finds the parameters below the model's backbone by
        # the ends of their names.
        content = {
            "model": to_detectron2(state_dict),
            "__author__": "torchvision",
            "matching_heuristics": True,
        }
        return pickle.dumps(content)
