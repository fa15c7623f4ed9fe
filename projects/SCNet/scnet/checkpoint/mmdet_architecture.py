"""Which model of this package weights of the reference implementation belong to."""

import functools
from typing import Dict, Iterable, List, NamedTuple, Optional

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from ..config import get_config_file, read_cfg
from .mmdet_names import MASK_BRANCH, MASK_HEAD

# What only one family's weights have, there and here, and how its configs are called. The first
# that fits is taken.
FAMILIES = {
    "scnet": (f"{MASK_HEAD}.convs.", f"{MASK_BRANCH}.heads.0.blocks."),
    "htc": (f"{MASK_HEAD}.1.conv_res.", f"{MASK_BRANCH}.heads.1.fusion."),
    "cascade_mask_rcnn_sem": (f"{MASK_HEAD}.1.", f"{MASK_BRANCH}.heads.1."),
}

# (blocks of ResNet's third stage, groups of its 3x3 convolutions) -> how configs call it
BACKBONES = {(6, 1): "R_50", (23, 1): "R_101", (23, 64): "X_101_64x4d"}


def find_family(names: Iterable[str], side: int) -> str:
    """Find the key of :data:`FAMILIES` that weights belong to.

    Args:
        names: of the weights.
        side: 0 for names of the reference, 1 for names of this package.

    Raises:
        ValueError: the weights have no mask heads of a known family.
    """
    for family, markers in FAMILIES.items():
        if any(name.startswith(markers[side]) for name in names):
            return family
    raise ValueError(
        f"These weights have none of the mask heads of {', '.join(FAMILIES)}: no name begins with "
        f"any of {', '.join(markers[side] for markers in FAMILIES.values())}."
    )


class Architecture(NamedTuple):
    """What model weights belong to.

    Attributes:
        config: the name of a shipped config.
        things: the number of thing classes.
        semantic: the number of semantic classes; None for no semantic branch.
    """

    config: str
    things: int = 80
    semantic: Optional[int] = 183

    def cfg(self) -> CfgNode:
        """Read the config, with these numbers of classes."""
        cfg = read_cfg(get_config_file(self.config))
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = self.things
        if self.semantic is None:
            cfg.MODEL.SCNET.SEMANTIC.SOURCE = "none"
        else:
            cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = self.semantic
        return cfg


def find_architecture(state_dict: Dict[str, Tensor]) -> Architecture:
    """Find what model of this package a reference's weights belong to.

    Raises:
        ValueError: the weights are of no known architecture; the message says why.
    """
    family = find_family(state_dict, 0)
    keys = {
        "blocks": "backbone.layer3.0.conv2.weight",
        "things": "roi_head.bbox_head.0.fc_cls.weight",
    }
    if any(key.startswith("roi_head.semantic_head.") for key in state_dict):
        keys["semantic"] = "roi_head.semantic_head.conv_logits.weight"
    missing = [f"'{key}' is missing" for key in keys.values() if key not in state_dict]
    raise_problems(missing, f"These weights are not those of a reference {family}")
    blocks = len([k for k in state_dict if k.startswith("backbone.layer3.") and "conv2." in k])
    conv = state_dict[keys["blocks"]]
    groups = conv.shape[0] // conv.shape[1]
    if (blocks, groups) not in BACKBONES:
        raise ValueError(
            f"The backbone has {blocks} blocks in its third stage and {groups} groups. "
            f"Known are {BACKBONES}."
        )
    config = f"{family}_{BACKBONES[blocks, groups]}_FPN_20e_coco.yaml"
    things = state_dict[keys["things"]].shape[0] - 1
    semantic = state_dict[keys["semantic"]].shape[0] if "semantic" in keys else None
    return Architecture(config, things, semantic)


@functools.lru_cache
def expected_shapes(architecture: Architecture) -> Dict[str, torch.Size]:
    """Find the shapes of all parameters and buffers by name, without memory for them."""
    cfg = architecture.cfg()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    return {key: value.shape for key, value in model.state_dict().items()}


def raise_problems(problems: List[str], headline: str) -> None:
    """Raise a ValueError that lists all problems, if there are any."""
    if problems:
        raise ValueError(f"{headline} ({len(problems)} problems): " + "; ".join(problems))
