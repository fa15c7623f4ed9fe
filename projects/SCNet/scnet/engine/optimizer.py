"""The optimizer, with gradients that are clipped before it steps."""

from typing import Any, Callable, Dict, List

import torch
from detectron2.config import CfgNode
from detectron2.layers.batch_norm import LayerNorm
from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import reduce_param_groups
from torch import Tensor, nn
from torch.optim import Optimizer

from ..modeling.backbone.layer_order import layers_of

# Parameters of transformers that say where things are, by the ends of their names.
POSITIONS = (
    "absolute_pos_embed",
    "cls_token",
    "pos_embed",
    "rel_pos_h",
    "rel_pos_w",
    "relative_position_bias_table",
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """Build SGD as Detectron2 does, or AdamW with the same settings per parameter.

    Both change all parameters with few calls ("foreach"), or with one (SOLVER.FUSED).

    Raises:
        ValueError: SOLVER.OPTIMIZER or SOLVER.CLIP_GRADIENTS.CLIP_TYPE is none that there is, or
            SOLVER.LAYER_DECAY cannot be; see :func:`decay_by_layer`.
    """
    solver = cfg.SOLVER
    params = parameter_groups(cfg, model)
    how: Dict[str, Any] = {"fused": True} if solver.FUSED else {"foreach": True}
    optimizer: Optimizer
    if solver.OPTIMIZER == "SGD":
        optimizer = torch.optim.SGD(
            params,
            lr=solver.BASE_LR,
            momentum=solver.MOMENTUM,
            nesterov=solver.NESTEROV,
            weight_decay=solver.WEIGHT_DECAY,
            **how,
        )
    elif solver.OPTIMIZER == "AdamW":
        optimizer = torch.optim.AdamW(params, lr=solver.BASE_LR, **how)
    else:
        raise ValueError(f"SOLVER.OPTIMIZER must be 'SGD' or 'AdamW', not '{solver.OPTIMIZER}'.")
    if solver.CLIP_GRADIENTS.ENABLED:
        optimizer.register_step_pre_hook(GradientClipping(solver.CLIP_GRADIENTS))
    return optimizer


def parameter_groups(cfg: CfgNode, model: nn.Module) -> List[Dict[str, Any]]:
    """Group the parameters that train by learning rate and weight decay.

    Detectron2's groups, with two differences: its own LayerNorm is a norm, too, and what says where
    things are (``POSITIONS``) has no weight decay, as in Detectron2's configs of transformers.

    Raises:
        ValueError: see :func:`decay_by_layer`.
    """
    solver = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        # SGD has it as its default: the groups are those of older checkpoints, without names.
        weight_decay=None if solver.OPTIMIZER == "SGD" else solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        lr_factor_func=decay_by_layer(cfg, model) if solver.LAYER_DECAY != 1 else None,
    )
    norms = [p for m in model.modules() if isinstance(m, LayerNorm) for p in m.parameters()]
    positions = [p for name, p in model.named_parameters() if name.endswith(POSITIONS)]
    for params, decay in ((norms, solver.WEIGHT_DECAY_NORM), (positions, 0.0)):
        params = [p for p in params if p.requires_grad]
        groups = reduce_param_groups([*groups, {"params": params, "weight_decay": decay}])
    return groups


def decay_by_layer(cfg: CfgNode, model: nn.Module) -> Callable[[str], float]:
    """The factor of the learning rate of each parameter, by its name (SOLVER.LAYER_DECAY).

    For a ViT that of ``detectron2.modeling.get_vit_lr_decay_rate``: the pyramid and the heads have
    1, the last layer of the backbone has the decay, the one before its square.

    Raises:
        ValueError: SOLVER.LAYER_DECAY is not in (0, 1]; biases have a factor of their own; or the
            layers of the backbone are not known.
    """
    decay = cfg.SOLVER.LAYER_DECAY
    if not 0 < decay <= 1:
        raise ValueError(f"SOLVER.LAYER_DECAY is {decay}. It must be above 0 and at most 1.")
    if cfg.SOLVER.BIAS_LR_FACTOR != 1:
        raise ValueError(
            f"SOLVER.BIAS_LR_FACTOR is {cfg.SOLVER.BIAS_LR_FACTOR}, but with SOLVER.LAYER_DECAY "
            "the layer of a bias decides. Set it to 1.0."
        )
    numbers = {f"backbone.{name}": layer for name, layer in layers_of(model.backbone).items()}
    heads = max(numbers.values()) + 1
    return lambda name: decay ** (heads - numbers.get(name, heads))


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
