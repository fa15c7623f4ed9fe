"""Keys of Detectron2 that a model cannot honour: they may have one value only."""

import functools
from typing import Any, Mapping, Tuple

from detectron2.config import CfgNode


def require_keys(cfg: CfgNode, required: Mapping[str, Tuple[Any, str]]) -> None:
    """Refuse a config that asks for what the model would not do.

    Args:
        required: a key in full ("MODEL.KEYPOINT_ON") -> the only value that it may have, and why.

    Raises:
        ValueError: a key has another value; the message names it.
    """
    for key, (value, reason) in required.items():
        given = functools.reduce(getattr, key.split("."), cfg)
        if _plain(given) != _plain(value):
            raise ValueError(f"{key} is {given}, but {reason}. Set it to {value}.")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
