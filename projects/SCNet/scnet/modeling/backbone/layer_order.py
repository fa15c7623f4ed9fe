"""The order of a backbone's layers: some are frozen, and learning rates grow along it."""

import re
from math import inf
from typing import Any, Dict, NamedTuple

from detectron2.modeling import Backbone, MViT, ResNet, SwinTransformer, ViT
from detectron2.modeling.backbone import RegNet


class Names(NamedTuple):
    """Patterns of the names of parameters.

    Attributes:
        stem: matches those of what comes before the first block.
        block: matches those of a block, with its stage and its number in it; or, in a backbone
            without stages, with its number. What comes between two stages has no number.
    """

    stem: str
    block: str


NAMES = {
    ResNet: Names(r"stem\.", r"res(\d+)\.(\d+)\."),
    RegNet: Names(r"stem\.", r"s(\d+)\.b(\d+)\."),
    SwinTransformer: Names(r"patch_embed\.", r"layers\.(\d+)\.(?:blocks\.(\d+)\.)?"),
    ViT: Names(r"patch_embed\.|pos_embed", r"blocks\.(\d+)\."),
    MViT: Names(r"patch_embed\.|pos_embed", r"blocks\.(\d+)\."),
}


def layer_numbers(bottom_up: Any, stages: bool = False) -> Dict[str, int]:
    """Number the layers of a backbone from the image on.

    Args:
        bottom_up: a backbone without its pyramid.
        stages: number the stages, not the blocks. Blocks of a plain ViT or MViT are stages.

    Returns:
        the name of a parameter -> the number of its layer; the stem is 0. Those of norms upon what
        goes out, which belong to no layer, are missing.

    Raises:
        ValueError: how the layers of such a backbone are called is not known.
    """
    if hasattr(bottom_up, "layer_numbers"):
        return bottom_up.layer_numbers(stages)
    if type(bottom_up) not in NAMES:
        raise ValueError(
            f"The order of the layers of {type(bottom_up).__name__} (MODEL.BACKBONE.NAME) is not "
            f"known. It is of {', '.join(kind.__name__ for kind in NAMES)}, timm's models and "
            "backbones with a method layer_numbers."
        )
    names, places = NAMES[type(bottom_up)], {}
    for name, _ in bottom_up.named_parameters():
        block = re.match(names.block, name)
        if block:
            numbers = [inf if number is None else int(number) for number in block.groups()]
            places[name] = (1, *(numbers[:1] if stages else numbers))
        elif re.match(names.stem, name):
            places[name] = (0,)
    order = sorted(set(places.values()))
    return {name: order.index(place) for name, place in places.items()}


def freeze_stages(bottom_up: Backbone, freeze_at: int) -> None:
    """Keep the first stages as they are, as ``ResNet.freeze`` does.

    Args:
        freeze_at: MODEL.BACKBONE.FREEZE_AT: 1 freezes the stem, 2 also the first stage, and so on.

    Raises:
        ValueError: there are not so many.
    """
    numbers = layer_numbers(bottom_up, stages=True)
    count = max(numbers.values()) + 1
    if not 0 <= freeze_at <= count:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but {type(bottom_up).__name__} has a stem "
            f"and {count - 1} stages. Set it to at most {count}."
        )
    for name, parameter in bottom_up.named_parameters():
        if numbers.get(name, count) < freeze_at:
            parameter.requires_grad_(False)


def layers_of(backbone: Backbone) -> Dict[str, int]:
    """:func:`layer_numbers`, with the names of the parameters in a backbone with its pyramid.

    Raises:
        ValueError: see there.
    """
    attribute = "net" if hasattr(backbone, "net") else "bottom_up"
    bottom_up = getattr(backbone, attribute, backbone)
    prefix = "" if bottom_up is backbone else f"{attribute}."
    return {prefix + name: number for name, number in layer_numbers(bottom_up).items()}
