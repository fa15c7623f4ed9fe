"""Activation checkpointing: memory is saved by computing parts again in the backward pass."""

from functools import partial
from typing import Iterator, Sequence

import torch
from detectron2.layers import CNNBlockBase
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .layers import ResidualBlock

PLACES = ("backbone", "mask_branch")


def checkpoint_activations(model: nn.Module, places: Sequence[str]) -> None:
    """Let blocks keep their inputs only; what is within them is computed again when needed.

    The numbers do not change. The blocks are those of the ResNet, and the residual blocks of the
    mask head (Sec. 4.1).

    Args:
        model: a :class:`scnet.SCNet`; its blocks are changed.
        places: of ``PLACES``.

    Raises:
        ValueError: a place is unknown or has no such blocks, or a batch norm would see each batch
            twice.
    """
    for place in places:
        if place not in PLACES:
            raise ValueError(
                f"MODEL.SCNET.ACTIVATION_CHECKPOINTING has '{place}'. It may have {PLACES}."
            )
        blocks = list(_blocks(model, place))
        if not blocks:
            raise ValueError(
                f"MODEL.SCNET.ACTIVATION_CHECKPOINTING has '{place}', which has no blocks to "
                "compute again: they are those of a ResNet, and those of the mask head of "
                "MODEL.SCNET.MASK_BRANCH 'sample_consistency'."
            )
        learning = any(isinstance(m, _BatchNorm) for block in blocks for m in block.modules())
        if learning and not model.freeze_bn_statistics:
            raise ValueError(
                "MODEL.SCNET.ACTIVATION_CHECKPOINTING would let batch norm count each batch "
                "twice. Set MODEL.SCNET.FREEZE_BN_STATISTICS True, or MODEL.RESNETS.NORM to "
                "'FrozenBN' or 'GN'."
            )
        for block in blocks:
            block.forward = partial(_forward, block.forward)


def _blocks(model: nn.Module, place: str) -> Iterator[nn.Module]:
    if place == "backbone":
        return (m for m in model.backbone.modules() if isinstance(m, CNNBlockBase))
    branch = getattr(model.roi_heads, "mask_branch", None) or nn.Identity()
    return (m for m in branch.modules() if isinstance(m, ResidualBlock))


def _forward(forward, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return forward(x)
    return checkpoint(forward, x, use_reentrant=False, preserve_rng_state=False)
