"""The optimizer, with gradients that are clipped before it steps."""

from typing import Any, Dict, List

import torch
from detectron2.config import CfgNode
from detectron2.solver import get_default_optimizer_params
from torch import Tensor, nn
from torch.optim import Optimizer


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Build SGD as Detectron2 does, or AdamW with the same settings per parameter.

    Both change all parameters with few calls ("foreach"), or with one (SOLVER.FUSED).

    Raises:
        ValueError: SOLVER.OPTIMIZER or SOLVER.CLIP_GRADIENTS.CLIP_TYPE is none that there is.
    """
    solver = cfg.SOLVER
    shared = {
        "base_lr": solver.BASE_LR,
        "weight_decay_norm": solver.WEIGHT_DECAY_NORM,
        "bias_lr_factor": solver.BIAS_LR_FACTOR,
        "weight_decay_bias": solver.WEIGHT_DECAY_BIAS,
    }
    how: Dict[str, Any] = {"fused": True} if solver.FUSED else {"foreach": True}
    optimizer: Optimizer
    if solver.OPTIMIZER == "SGD":
        optimizer = torch.optim.SGD(
            get_default_optimizer_params(model, **shared),
            lr=solver.BASE_LR,
            momentum=solver.MOMENTUM,
            nesterov=solver.NESTEROV,
            weight_decay=solver.WEIGHT_DECAY,
            **how,
        )
    elif solver.OPTIMIZER == "AdamW":
        params = get_default_optimizer_params(model, weight_decay=solver.WEIGHT_DECAY, **shared)
        optimizer = torch.optim.AdamW(params, lr=solver.BASE_LR, **how)
    else:
        raise ValueError(f"SOLVER.OPTIMIZER must be 'SGD' or 'AdamW', not '{solver.OPTIMIZER}'.")
    if solver.CLIP_GRADIENTS.ENABLED:
        optimizer.register_step_pre_hook(GradientClipping(solver.CLIP_GRADIENTS))
    return optimizer


class GradientClipping:
    """Clips the gradients of an optimizer before it steps, to the same values as Detectron2.

    Detectron2 calls PyTorch's function for each parameter, some ten operations each.
    """

    def __init__(self, cfg: CfgNode):
        """
        Args:
            cfg: SOLVER.CLIP_GRADIENTS.

        Raises:
            ValueError: its CLIP_TYPE is neither "value" nor "norm".
        """
        if cfg.CLIP_TYPE not in ("value", "norm"):
            raise ValueError(
                f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be 'value' or 'norm', not '{cfg.CLIP_TYPE}'."
            )
        self.by_norm = cfg.CLIP_TYPE == "norm"
        self.limit = cfg.CLIP_VALUE
        self.norm_type = cfg.NORM_TYPE

    def __call__(self, optimizer: Optimizer, *_: Any) -> None:
        """Clip; for ``register_step_pre_hook``."""
        params = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        if params and self.by_norm:
            clip_each_norm([p.grad for p in params], self.limit, self.norm_type)
        elif params:
            torch.nn.utils.clip_grad_value_(params, self.limit)


@torch.no_grad()
def clip_each_norm(gradients: List[Tensor], limit: float, norm_type: float) -> None:
    """Shrink each gradient whose own norm is above a limit; the norms take one call for all.

    Args:
        gradients: on one device; changed in place.
        limit: of each norm.
        norm_type: 2 for the Euclidean norm, for one.
    """
    norms = torch.stack(torch._foreach_norm(gradients, norm_type))
    factors = (limit / (norms + 1e-6)).clamp(max=1)  # as torch.nn.utils.clip_grad_norm_
    torch._foreach_mul_(gradients, factors.unbind())
