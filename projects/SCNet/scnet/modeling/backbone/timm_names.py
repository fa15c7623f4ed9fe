"""Weights that are named as timm names them (``timm://convnext_tiny.fb_in22k``)."""

from difflib import get_close_matches
from typing import Any

from .require_timm import require_timm

PREFIX = "timm://"


def known_to_timm(weights: str) -> Any:
    """Look up what timm knows of its weights: where they are, and the images that they know.

    Args:
        weights: begins with :data:`PREFIX`; a model and, after a dot, what it was trained on, by
            default what timm takes.

    Returns:
        timm's ``PretrainedCfg``.

    Raises:
        ValueError: timm is missing or has no such weights, or they are not on Hugging Face.
    """
    timm = require_timm(f"'{weights}' (MODEL.WEIGHTS)")
    name = weights.removeprefix(PREFIX)
    try:
        known = timm.get_pretrained_cfg(name)
    except RuntimeError:  # for an unknown word after the dot; None for an unknown model
        known = None
    if known is None:
        near = get_close_matches(name, timm.list_pretrained(), 3)
        raise ValueError(
            f"'{weights}': timm {timm.__version__} has no such weights. "
            + (f"The nearest are {', '.join(near)}. " if near else "")
            + "timm.list_pretrained() lists all."
        )
    if not known.hf_hub_id:
        raise ValueError(
            f"'{weights}': timm has no such weights on Hugging Face. timm.list_pretrained() lists "
            "those that there are."
        )
    return known
