"""The names of the classes, as they travel with the weights.

They are one more entry of the model's ``state_dict``, so they are wherever the weights are: in
checkpoints, in a file that someone saved by hand, on another machine. It is a tensor of bytes, as
everything in a ``state_dict`` of Detectron2's checkpointer has to be a tensor.
"""

import json

import torch
from detectron2.data.catalog import Metadata
from torch import Tensor

KEY = "class_metadata"
FIELDS = ("thing_classes", "stuff_classes")


def make_metadata(source) -> Metadata:
    """The names alone, without the files of the data set that they are from.

    Args:
        source: with ``get``, such as Detectron2's metadata of a data set, or a dict.

    Returns:
        ``thing_classes``: names of the classes; ``stuff_classes``: names of the semantic
        classes. What is not known is left out.
    """
    return Metadata(**{key: list(source.get(key)) for key in FIELDS if source.get(key)})


def encode(metadata: Metadata) -> Tensor:
    """Names as uint8 (length of their json in UTF-8,)."""
    content = json.dumps({key: metadata.get(key) for key in FIELDS if metadata.get(key)})
    return torch.frombuffer(bytearray(content.encode()), dtype=torch.uint8).clone()


def decode(encoded: Tensor) -> Metadata:
    """The reverse of :func:`encode`."""
    return make_metadata(json.loads(bytes(encoded.cpu().tolist()).decode()))
