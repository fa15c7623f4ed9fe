"""Putting other modules into the places of those that a model has."""

from typing import Dict

from torch import nn


def replace_modules(model: nn.Module, replacements: Dict[nn.Module, nn.Module]) -> None:
    """Replace modules below ``model`` wherever the model refers to them.

    A module may be in the tree more than once. Detectron2 also keeps some convolutions in plain
    lists beside the tree, and runs them from there: ``lateral_convs`` and ``output_convs`` of the
    FPN, ``conv_norm_relus`` of the heads.

    Args:
        replacements: the new module for each old one.
    """
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module in replacements:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, replacements[module])
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, list):
                value[:] = [
                    replacements.get(x, x) if isinstance(x, nn.Module) else x for x in value
                ]
