"""The number formats that a training computes in."""

import logging
from typing import Optional

import torch

logger = logging.getLogger(__name__)


def mixed_precision_type(name: str, device: str) -> torch.dtype:
    """The type of mixed precision: the one that is named, or the usual one of the device.

    Args:
        name: SOLVER.AMP.DTYPE.
        device: "cuda" or "cpu", for example.

    Raises:
        ValueError: there is no such type, or not on the device.
    """
    name = name or ("float16" if device == "cuda" else "bfloat16")
    if name not in ("float16", "bfloat16"):
        raise ValueError(f"SOLVER.AMP.DTYPE must be 'float16' or 'bfloat16', not '{name}'.")
    if name == "float16" and device == "cpu":
        raise ValueError(
            "SOLVER.AMP.DTYPE is 'float16', which trains on GPUs only. Set it to bfloat16."
        )
    return getattr(torch, name)


def set_tf32(enabled: Optional[bool]) -> None:
    """Let NVIDIA's GPUs round to TF32 in convolutions and matrix products, or in neither.

    Args:
        enabled: SOLVER.TF32; None leaves PyTorch's own choice, which is TF32 in convolutions only.
    """
    if enabled is not None:
        torch.backends.cudnn.allow_tf32 = enabled
        torch.backends.cuda.matmul.allow_tf32 = enabled
    if torch.cuda.is_available():
        convolutions = torch.backends.cudnn.allow_tf32
        products = torch.backends.cuda.matmul.allow_tf32
        logger.info(f"TF32: {convolutions} in convolutions, {products} in matrix products.")
