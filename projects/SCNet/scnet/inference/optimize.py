"""Making a trained model predict the same in less time."""

import copy

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling import GeneralizedRCNN
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..modeling.compiled_regions import compile_regions
from ..modeling.meta_arch import SCNet
from .replace_modules import replace_modules
from .winograd import WinogradConv2d, is_winograd


def optimize_for_inference(
    model: GeneralizedRCNN, dtype: torch.dtype = torch.float32, compile: bool = False
) -> GeneralizedRCNN:
    """Copy a model; the copy predicts the same in less time, and can do nothing else.

    - Batch norm with constant statistics becomes part of the convolution before it.
    - The semantic predictor and the classifier of the global context are left out unless their
      outputs are asked for: the regions need the embedding and the context vector only.
    - On a CPU in float32, large 3x3 convolutions are computed by Winograd's algorithm, unless they
      are compiled: it writes into memory of its own, which is no graph.
    - Convolutions keep the channels of a pixel together in memory.

    The copy has no gradients, and its weights are no checkpoint: load weights before.

    Args:
        model: SCNet or another generalized R-CNN of Detectron2; it stays as it is.
        dtype: torch.bfloat16 or torch.float16 for convolutions and matrix products, by PyTorch's
            autocast, and for their weights, which take half the memory; SCNet only. On hardware
            that cannot do it this is slower by far.
        compile: also use ``torch.compile``, see :func:`compile_regions`; SCNet only. The first
            images take minutes, and a copy of the copy is not compiled.

    Returns:
        the copy, in evaluation mode.

    Raises:
        ValueError: another ``dtype``, or one for another model than SCNet; or the model is a copy
            with weights of lower precision, and ``dtype`` is not theirs; or see
            :func:`compile_regions`.
    """
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype is {dtype}. Give torch.float32, torch.bfloat16 or torch.float16.")
    if dtype != torch.float32 and not isinstance(model, SCNet):
        raise ValueError(f"{dtype} is for SCNet, HTC and the baselines of this project only.")
    if isinstance(model, SCNet) and model.autocast_dtype not in (torch.float32, dtype):
        raise ValueError(
            f"The model is optimized for {model.autocast_dtype} already, not for {dtype}. Give the "
            "model that it was copied from."
        )
    model = copy.deepcopy(model).requires_grad_(False)
    if isinstance(model, SCNet):
        _drop_what_only_trains(model)
        model.autocast_dtype = dtype
    for module in model.modules():
        if isinstance(module, Conv2d) and isinstance(module.norm, (_BatchNorm, FrozenBatchNorm2d)):
            _fold_norm(module)
    if dtype != torch.float32:
        _cast_weights(model, dtype)
    on_cpu = model.device.type == "cpu"
    if on_cpu or dtype != torch.float32:
        model.to(memory_format=torch.channels_last)
    if on_cpu and dtype == torch.float32 and not compile:
        convs = [module for module in model.modules() if is_winograd(module)]
        replace_modules(model, {conv: WinogradConv2d(conv) for conv in convs})
    if compile:
        compile_regions(model)
    return model.eval()


def optimize_as_configured(model: GeneralizedRCNN, cfg: CfgNode) -> GeneralizedRCNN:
    """Optimize a model as MODEL.SCNET.OPTIMIZE_FOR_INFERENCE says; "" leaves it as it is.

    Raises:
        ValueError: the key has another value than "", "float32", "bfloat16" and "float16".
    """
    name = cfg.MODEL.SCNET.OPTIMIZE_FOR_INFERENCE
    if name not in ("", "float32", "bfloat16", "float16"):
        raise ValueError(
            f"MODEL.SCNET.OPTIMIZE_FOR_INFERENCE is '{name}'. It must be 'float32', 'bfloat16' or "
            "'float16', or '' for the model as it is."
        )
    return optimize_for_inference(model, getattr(torch, name)) if name else model


def _drop_what_only_trains(model: SCNet) -> None:
    """Take out the layers whose outputs only the losses need."""
    if model.semantic_head is not None and not model.semantic_output:
        model.semantic_head.predictor = nn.Identity()
    if model.global_context_head is not None and not model.image_scores_output:
        model.global_context_head.classifier = nn.Identity()


def _cast_weights(model: SCNet, dtype: torch.dtype) -> None:
    """Cast the weights that autocast would cast for every image: it only remembers the casts of
    weights that need gradients."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)


def _fold_norm(conv: Conv2d) -> None:
    """Let a convolution do what its batch norm does."""
    norm = conv.norm
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    conv.norm = None
