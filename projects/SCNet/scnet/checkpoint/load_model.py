"""Building a trained model from its config and its weights."""

from typing import Optional

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ..config_mistakes import check_device
from .checkpointer import SCNetCheckpointer


def load_model(cfg: CfgNode, weights: Optional[str] = None) -> nn.Module:
    """Build the model of a config and give it its weights.

    Args:
        cfg: of the model.
        weights: in place of MODEL.WEIGHTS.

    Returns:
        the model, in evaluation mode, on MODEL.DEVICE.

    Raises:
        ValueError: no weights are named, or they do not fit; see :class:`SCNetCheckpointer` and
            :func:`check_device`.
        FileNotFoundError: there are no such weights.
    """
    weights = cfg.MODEL.WEIGHTS if weights is None else weights
    if not weights:
        raise ValueError("No weights. Add MODEL.WEIGHTS path/to/model.pth to the command.")
    check_device(cfg)
    model = build_model(cfg).eval()
    SCNetCheckpointer(
        model, trusted=cfg.MODEL.TRUST_WEIGHTS, allow_surplus=cfg.MODEL.ALLOW_SURPLUS_WEIGHTS
    ).load(weights)
    return model
