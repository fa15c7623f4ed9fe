"""Activation checkpointing: memory is saved by computing parts again in the backward pass."""

from collections import OrderedDict
from typing import Any, Iterator, Sequence, Tuple, Union

import torch
from detectron2.layers import CNNBlockBase
from detectron2.modeling import ResNet
from detectron2.modeling.backbone import RegNet, mvit, swin, vit
from detectron2.modeling.backbone.regnet import AnyStage
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .layers import ResidualBlock

PLACES = ("backbone", "mask_branch")
BLOCKS = (
    *(CNNBlockBase, ResidualBlock),
    *(swin.SwinTransformerBlock, vit.Block, mvit.MultiScaleBlock),
)


class CheckpointedSequential(nn.Sequential):
    """A sequence of which each member keeps its input only, until the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """As :class:`torch.nn.Sequential`."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        for block in self:
            x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        return x


class CheckpointedList(nn.ModuleList):
    """A list whose members keep their inputs only, until the backward pass.

    For the transformers, which call one member after the other.
    """

    def __iter__(self) -> Iterator[Any]:
        """The members in turn, to be called, and to be given attributes as Swin does."""
        members = super().__iter__()
        return map(_Checkpointed, members) if torch.is_grad_enabled() else members


class _Checkpointed:
    """A module that is called with activation checkpointing."""

    module: nn.Module

    def __init__(self, module: nn.Module):
        self.__dict__["module"] = module

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.module, name, value)

    def __call__(self, *args: Any) -> Any:
        # Drop path draws random numbers: the second time the same.
        return checkpoint(self.module, *args, use_reentrant=False)


def checkpoint_activations(model, places: Sequence[str]) -> None:
    """Let blocks keep their inputs only; what is within them is computed again when needed.

    The numbers and the names of the parameters do not change. The blocks are those of Detectron2's
    backbones, and the residual blocks of the mask head (Sec. 4.1). A backbone with a method
    ``checkpoint_activations``, as that of timm, does it itself.

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
        own = [module for module in root.modules() if hasattr(module, "checkpoint_activations")]
        sequences = list(_sequences_of_blocks(root))
        if not sequences and not own:
            raise ValueError(
                f"activation_checkpointing (MODEL.SCNET.ACTIVATION_CHECKPOINTING) has '{place}', "
                "which has no blocks to compute again: they are in Detectron2's and timm's "
                "backbones, and in the mask head SCNetMaskHead (MODEL.ROI_MASK_HEAD.NAME)."
            )
        frozen = place == "backbone" and model.freeze_bn_statistics
        for module in (*own, *(sequence for _, _, sequence in sequences)):
            if not frozen and any(isinstance(m, _BatchNorm) for m in module.modules()):
                raise ValueError(
                    "activation_checkpointing (MODEL.SCNET.ACTIVATION_CHECKPOINTING) would let "
                    f"batch norm of the {place} count each batch twice. Set MODEL.SCNET."
                    "FREEZE_BN_STATISTICS True for a backbone, or the norm (MODEL.RESNETS.NORM, "
                    "MODEL.ROI_MASK_HEAD.NORM) to 'FrozenBN' or 'GN'."
                )
        for module in own:
            module.checkpoint_activations()
        for parent, name, sequence in sequences:
            setattr(parent, name, _checkpointed(sequence))
            if isinstance(parent, ResNet):  # it has its stages in a list as well
                parent.stages = [getattr(parent, stage) for stage in parent.stage_names]
            elif isinstance(parent, RegNet):
                parent.stages_and_names = [
                    (getattr(parent, stage), stage) for _, stage in parent.stages_and_names
                ]


def _checkpointed(sequence: nn.Module) -> Union[CheckpointedSequential, CheckpointedList]:
    """The same blocks, under the same names, with activation checkpointing."""
    if isinstance(sequence, nn.ModuleList):
        return CheckpointedList(sequence)
    return CheckpointedSequential(OrderedDict(sequence.named_children()))


def _sequences_of_blocks(root: nn.Module) -> Iterator[Tuple[nn.Module, str, nn.Module]]:
    """All sequences of blocks below a module, each with its parent and its name there."""
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            blocks = list(child.children())
            if (
                isinstance(child, (nn.Sequential, nn.ModuleList, AnyStage))
                and blocks
                and all(isinstance(block, BLOCKS) for block in blocks)
            ):
                yield parent, name, child
