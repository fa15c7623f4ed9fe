"""What a run that goes on takes from its checkpoint, and what from the config."""

import logging
from typing import Any, Dict, List

import torch
from torch import nn
from torch.optim import Optimizer

logger = logging.getLogger(__name__)

# How hyper-parameters of PyTorch's optimizers are called in the log.
NAMES = {"initial_lr": "learning rate", "weight_decay": "weight decay"}
# The learning rate changes with the iterations; the last two are ways to compute the same.
NO_HYPERPARAMETERS = ("params", "param_names", "lr", "foreach", "fused")


def name_parameters(optimizer: Optimizer, model: nn.Module) -> None:
    """Let the groups of an optimizer, and so its checkpoints, have the names of its parameters."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        group["param_names"] = [names[parameter] for parameter in group["params"]]


def with_hyperparameters_of(optimizer: Optimizer, saved: Dict[str, Any]) -> Dict[str, Any]:
    """Replace the hyper-parameters in a saved state by those of an optimizer; log what differs.

    PyTorch's optimizers take both from a checkpoint, the state (momentum) and the hyper-parameters
    (learning rate, weight decay). A run that goes on has the hyper-parameters of its config.

    Args:
        optimizer: as the config says.
        saved: the ``state_dict`` of the optimizer of the run.

    Returns:
        a ``state_dict`` for ``optimizer``.

    Raises:
        ValueError: the run had another optimizer or other parameters; the message names the key.
    """
    before, now = saved["param_groups"], optimizer.param_groups
    kind, other = _kind(now), _kind(before)
    if kind != other:
        raise ValueError(
            f"SOLVER.OPTIMIZER is '{kind}', but the run was trained with '{other}', whose state "
            f"does not fit. Set SOLVER.OPTIMIZER {other}, or start anew from the weights "
            "(MODEL.WEIGHTS) in another OUTPUT_DIR."
        )
    numbers = _numbers(before, now)
    _check_shapes(numbers, now, saved["state"])
    former = {number: group for group in before for number in group["params"]}
    changes = {
        f"{NAMES.get(key, key)} {former[number][key]} -> {value}": None  # a set in order
        for group, own in zip(now, numbers)
        for key, value in group.items()
        for number in own
        if key not in NO_HYPERPARAMETERS and former[number].get(key, value) != value
    }
    if changes:
        logger.info(f"The run goes on with other hyper-parameters: {', '.join(changes)}.")
    groups = [{**group, "params": own} for group, own in zip(now, numbers)]
    return {**saved, "param_groups": groups}


def _kind(groups: List[Dict[str, Any]]) -> str:
    """Tell AdamW from SGD by what its groups of parameters have."""
    return "AdamW" if "betas" in groups[0] else "SGD"


def _numbers(before: List[Dict[str, Any]], now: List[Dict[str, Any]]) -> List[List[int]]:
    """Find which numbers the parameters of an optimizer have in a saved state, group by group.

    Args:
        before: the groups of the saved state.
        now: the groups of the optimizer.

    Raises:
        ValueError: the parameters are others; or they are in other groups and have no names.
    """
    if all("param_names" in group for group in [*before, *now]):
        number = {x: k for group in before for x, k in zip(group["param_names"], group["params"])}
        names = {x for group in now for x in group["param_names"]}
        if number.keys() == names:
            return [[number[x] for x in group["param_names"]] for group in now]
        examples = ", ".join(sorted(number.keys() ^ names)[:5])
        raise ValueError(
            f"The run trained other parameters than this config does: {examples}, .... Use the "
            "config.yaml of the run, MODEL.BACKBONE.FREEZE_AT above all."
        )
    if [len(group["params"]) for group in before] == [len(group["params"]) for group in now]:
        return [group["params"] for group in before]
    raise ValueError(
        "The checkpoint does not name the parameters of its optimizer, and this config treats "
        "other ones alike. Set SOLVER.WEIGHT_DECAY, WEIGHT_DECAY_NORM, WEIGHT_DECAY_BIAS and "
        "BIAS_LR_FACTOR as in the config.yaml of the run."
    )


def _check_shapes(
    numbers: List[List[int]], groups: List[Dict[str, Any]], state: Dict[int, Dict[str, Any]]
) -> None:
    """Compare a saved state with the shapes of the parameters that it is for.

    Raises:
        ValueError: it is for other parameters.
    """
    for own, group in zip(numbers, groups):
        for number, parameter in zip(own, group["params"]):
            for value in state.get(number, {}).values():
                # AdamW counts the steps in a scalar.
                if isinstance(value, torch.Tensor) and value.shape not in ((), parameter.shape):
                    raise ValueError(
                        "The state of the optimizer is for parameters of other shapes than those "
                        "of this config. Use the config.yaml of the run."
                    )
