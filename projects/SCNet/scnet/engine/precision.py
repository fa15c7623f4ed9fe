"""The number formats that a training computes in."""

import torch


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
