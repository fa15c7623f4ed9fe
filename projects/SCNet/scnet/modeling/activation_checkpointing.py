"""Activation checkpointing: memory is saved by computing parts again in the backward pass."""

from typing import Iterator, Sequence, Tuple

import torch
from detectron2.layers import CNNBlockBase
from detectron2.modeling import ResNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .layers import ResidualBlock

PLACES = ("backbone", "mask_branch")


class CheckpointedSequential(nn.Sequential):
    """A sequence of which each member keeps its input only, until the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """As :class:`torch.nn.Sequential`."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        for block in self:
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        return x


def checkpoint_activations(model, places: Sequence[str]) -> None:
    """Let blocks keep their inputs only; what is within them is computed again when needed.

    The numbers and the names of the parameters do not change. The blocks are those of the stages
    of a ResNet, and the residual blocks of the mask head (Sec. 4.1).

    Args:
        model: a :class:`scnet.SCNet`; its sequences of blocks are replaced.
        places: of ``PLACES``.

    Raises:
        ValueError: a place is unknown or has no such blocks, or a batch norm would see each batch
            twice.
    """
    for place in places:
        if place not in PLACES:
            raise ValueError(
                f"activation_checkpointing (MODEL.SCNET.ACTIVATION_CHECKPOINTING) has '{place}'. "
                f"It may have {PLACES}."
            )
        root = model.backbone if place == "backbone" else model.roi_heads
        sequences = list(_sequences_of_blocks(root))
        if not sequences:
            raise ValueError(
                f"activation_checkpointing (MODEL.SCNET.ACTIVATION_CHECKPOINTING) has '{place}', "
                "which has no blocks to compute again: they are in the stages of a ResNet, and in "
                "the mask head SCNetMaskHead (MODEL.ROI_MASK_HEAD.NAME)."
            )
        frozen = place == "backbone" and model.freeze_bn_statistics
        for parent, name, sequence in sequences:
            if not frozen and any(isinstance(m, _BatchNorm) for m in sequence.modules()):
                raise ValueError(
                    "activation_checkpointing (MODEL.SCNET.ACTIVATION_CHECKPOINTING) would let "
                    f"batch norm of the {place} count each batch twice. Set MODEL.SCNET."
                    "FREEZE_BN_STATISTICS True for a backbone, or the norm (MODEL.RESNETS.NORM, "
                    "MODEL.ROI_MASK_HEAD.NORM) to 'FrozenBN' or 'GN'."
                )
            setattr(parent, name, CheckpointedSequential(*sequence))
            if isinstance(parent, ResNet):  # it has its stages in a list as well
                parent.stages = [getattr(parent, stage) for stage in parent.stage_names]


def _sequences_of_blocks(root: nn.Module) -> Iterator[Tuple[nn.Module, str, nn.Sequential]]:
    """All sequences of residual blocks below a module, each with its parent and its name there."""
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if (
                isinstance(child, nn.Sequential)
                and len(child)
                and all(isinstance(block, (CNNBlockBase, ResidualBlock)) for block in child)
            ):
                yield parent, name, child
