"""``torch.compile``, region by region.

A network of this kind is no single graph: between the convolutions it samples, suppresses and pools
regions, and their numbers follow from values. What lies between is compiled, each region apart.
"""

import logging
from typing import Dict

import torch
from torch import nn

from .backbone.transformers import has_transformer
from .meta_arch import SCNet

logger = logging.getLogger(__name__)

BACKEND = "inductor"
# Of one region: training and inference, one image and several, levels of one cell, and on a CPU the
# algorithms of its convolutions. PyTorch's own limit, 8, would be an error after hours.
MAX_VARIANTS = 64


def compile_regions(model: nn.Module) -> None:
    """Compile the regions of a model in place, each when it is first called.

    The names of the parameters stay. A copy of the model (``copy.deepcopy``) is not compiled.
    Height, width and the numbers of images and regions vary without compiling again. A region that
    is no single graph, which a head of one's own may be, is an error of PyTorch's when it is first
    called; it names the line. Hooks that are registered later, in a region, are not seen.

    Args:
        model: an SCNet.

    Raises:
        ValueError: it is another model; or ``torch.compile`` does not work here, for example for
            lack of a compiler.
    """
    if not isinstance(model, SCNet):
        raise ValueError(
            "torch.compile is for models of MODEL.META_ARCHITECTURE 'SCNet', not for a "
            f"{type(model).__name__}."
        )
    check_compiler(model.device)
    torch._dynamo.config.cache_size_limit = MAX_VARIANTS
    for region in regions(model).values():
        # Without fullgraph a graph break would make it slow, and nobody would know.
        region.compile(backend=BACKEND, fullgraph=True, dynamic=True)
    names = [name for name, region in regions(model).items() if is_compiled(region)]
    left_out = "" if "backbone" in names else " The backbone is a transformer, and left out."
    logger.info(f"torch.compile ({BACKEND}): {', '.join(names)}.{left_out}")


def is_compiled(model: nn.Module) -> bool:
    """Whether some part of a model is compiled."""
    return any(module._compiled_call_impl is not None for module in model.modules())


def regions(model: SCNet) -> Dict[str, nn.Module]:
    """The parts of a model that are compiled, by name; each is one graph when it is called."""
    # For sizes that vary, PyTorch simplifies the arithmetic of windows for hours (2.14.1).
    found = {
        "backbone": None if has_transformer(model.backbone) else model.backbone,
        "semantic_head": model.semantic_head,
        "global_context_head": model.global_context_head,
        "proposal_generator.rpn_head": getattr(model.proposal_generator, "rpn_head", None),
        **{f"roi_heads.box_head.{k}": head for k, head in enumerate(model.roi_heads.box_head)},
        "roi_heads.mask_branch": getattr(model.roi_heads, "mask_branch", None),
    }
    return {name: region for name, region in found.items() if region is not None}


def check_compiler(device: torch.device) -> None:
    """Compile something small.

    Raises:
        ValueError: it fails.
    """
    try:
        torch.compile(torch.sin, backend=BACKEND)(torch.zeros(2, device=device))
    except RuntimeError as error:
        reason = str(getattr(error, "inner_exception", error)).strip().splitlines()[0]
        raise ValueError(
            f"torch.compile does not work on {device} here ({reason}). It needs a C++ compiler, "
            "and Triton on a GPU. Install them, or do without SOLVER.COMPILE and compile=True."
        ) from error
