"""TF32, the rounding of single precision on NVIDIA's GPUs since Ampere."""

import logging
from typing import Optional

import torch

logger = logging.getLogger(__name__)


def set_tf32(enabled: Optional[bool]) -> str:
    """Let GPUs round to TF32 in convolutions and matrix products, or in neither.

    Args:
        enabled: SOLVER.TF32; None leaves PyTorch's own choice, which is TF32 in convolutions only.

    Returns:
        what is in force, read back from PyTorch. Where there is a GPU, the log has it, too.
    """
    if enabled is not None:
        torch.backends.cudnn.allow_tf32 = enabled
        torch.backends.cuda.matmul.allow_tf32 = enabled
    if torch.cuda.is_available():
        logger.info(f"TF32: {tf32_in_force()}.")
    return tf32_in_force()


def set_tf32_alike() -> str:
    """Let matrix products use TF32 where convolutions do.

    By default PyTorch does not. The speed of a matrix product would then be no limit for the
    convolutions that it is compared with.

    Returns:
        what is in force.
    """
    return set_tf32(torch.backends.cudnn.allow_tf32)


def tf32_in_force() -> str:
    """Where PyTorch uses TF32."""
    convolutions, products = (
        "yes" if place.allow_tf32 else "no"
        for place in (torch.backends.cudnn, torch.backends.cuda.matmul)
    )
    return f"convolutions {convolutions}, matrix products {products}, on a GPU that has it"
