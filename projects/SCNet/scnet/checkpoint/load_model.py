"""Building a trained model from its config and its weights."""

import logging
from typing import Optional

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ..config_mistakes import check_device, require_sizes
from ..device_name import device_name
from .checkpointer import SCNetCheckpointer

logger = logging.getLogger(__name__)


def load_model(cfg: CfgNode, weights: Optional[str] = None) -> nn.Module:
    """Build the model of a config and give it its weights.

    Args:
        cfg: of the model.
        weights: in place of MODEL.WEIGHTS.

    Returns:
        the model, in evaluation mode, on MODEL.DEVICE.

    Raises:
        ValueError: no weights are named, or they do not fit; see :class:`SCNetCheckpointer`,
            :func:`check_device` and :func:`require_sizes`.
        FileNotFoundError: there are no such weights.
    """
    weights = cfg.MODEL.WEIGHTS if weights is None else weights
    if not weights:
        raise ValueError("No weights. Add MODEL.WEIGHTS path/to/model.pth to the command.")
    check_device(cfg)
    require_sizes(cfg)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = weights  # so that no other weights are fetched for the backbone
    model = build_model(cfg).eval()
    logger.info(f"The model is on {device_name(next(model.parameters()).device)}.")
    SCNetCheckpointer(
        model, trusted=cfg.MODEL.TRUST_WEIGHTS, allow_surplus=cfg.MODEL.ALLOW_SURPLUS_WEIGHTS
    ).load(weights)
    return model
