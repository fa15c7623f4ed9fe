"""Detectron2's backbones that divide an image into patches and windows."""

from detectron2.modeling import MViT, SwinTransformer, ViT
from torch import nn

TRANSFORMERS = (MViT, SwinTransformer, ViT)


def has_transformer(module: nn.Module) -> bool:
    """Whether one of them is a part of a module: then its graph depends on the size of an image."""
    return any(isinstance(part, TRANSFORMERS) for part in module.modules())
