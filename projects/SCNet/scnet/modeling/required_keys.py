"""Values of Detectron2's keys that a model cannot honour."""

import functools
from typing import Any, Mapping, Tuple

from detectron2.config import CfgNode
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
)
from detectron2.modeling.roi_heads import ROI_BOX_HEAD_REGISTRY, ROI_MASK_HEAD_REGISTRY

# The part of a model that a key names -> where it must be registered under that name.
REGISTRIES = {
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_MASK_HEAD.NAME": ROI_MASK_HEAD_REGISTRY,
    "MODEL.SEM_SEG_HEAD.NAME": SEM_SEG_HEADS_REGISTRY,
}


def require_keys(cfg: CfgNode, required: Mapping[str, Tuple[Any, str]]) -> None:
    """Refuse a config that asks for what the model would not do.

    Args:
        required: a key in full ("MODEL.KEYPOINT_ON") -> the only value that it may have, and why.

    Raises:
        ValueError: a key has another value; the message names it.
    """
    for key, (value, reason) in required.items():
        given = _value(cfg, key)
        if _plain(given) != _plain(value):
            raise ValueError(f"{key} is {given}, but {reason}. Set it to {value}.")


def require_registered(cfg: CfgNode) -> None:
    """Refuse a name that no part of a model is registered under.

    Raises:
        ValueError: the message names the key and the names that are known.
    """
    for key, registry in REGISTRIES.items():
        name = _value(cfg, key)
        # Not a part of the model, but "there is none" in Detectron2.
        if name not in registry and name != "PrecomputedProposals":
            known = ", ".join(sorted(known for known, _ in registry))
            raise ValueError(
                f"{key} is '{name}', which is not registered. Registered are {known}. Import the "
                "module that registers it, or correct the name."
            )


def _value(cfg: CfgNode, key: str) -> Any:
    return functools.reduce(getattr, key.split("."), cfg)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
