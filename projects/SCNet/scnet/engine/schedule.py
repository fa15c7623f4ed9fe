"""The schedule of a training in words, as optimizer and scheduler have it."""

import copy
from typing import Iterable

from detectron2.config import CfgNode
from detectron2.engine.hooks import LRScheduler as LRSchedulerHook
from detectron2.solver import LRMultiplier
from detectron2.utils import comm
from torch.optim import Optimizer

FACTORS = ("momentum", "betas", "weight_decay")


def describe_schedule(
    cfg: CfgNode, written: CfgNode, optimizer: Optimizer, scheduler: LRMultiplier, start: int = 0
) -> str:
    """Describe batch size, optimizer and learning rates in one line.

    Args:
        cfg: as it is used.
        written: before Detectron2 scaled it to the number of processes.
        optimizer, scheduler: what is in force is read from these.
        start: the first iteration, from 0.
    """
    solver, processes = cfg.SOLVER, comm.get_world_size()
    parts = solver.GRADIENT_ACCUMULATION
    each = solver.IMS_PER_BATCH // (processes * parts)
    # The group with most parameters: its learning rate is the one in metrics.json.
    number = LRSchedulerHook.get_best_param_group_id(optimizer)
    group = optimizer.param_groups[number]
    factors = ", ".join(f"{key} {group[key]}" for key in FACTORS if key in group)
    turns = {start, solver.WARMUP_ITERS, *solver.STEPS, solver.MAX_ITER - 1}
    line = (
        f"Schedule: {solver.IMS_PER_BATCH} images per step ({processes} processes x {parts} parts "
        f"x {each}), {type(optimizer).__name__} ({factors}), iterations {start} to "
        f"{solver.MAX_ITER - 1}, learning rate "
        + learning_rates(
            scheduler, number, sorted(i for i in turns if start <= i < solver.MAX_ITER)
        )
    )
    low, high = min(scheduler.base_lrs), max(scheduler.base_lrs)
    if low != high:
        line += f"; of groups of parameters {low:.3g} to {high:.3g} before warm-up and decay"
    reference = written.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, processes):
        return f"{line}, as the config says."
    return (
        f"{line}. The config is written for {reference} processes with {written.SOLVER.BASE_LR:g} "
        f"and {written.SOLVER.MAX_ITER} iterations (SOLVER.REFERENCE_WORLD_SIZE)."
    )


def learning_rates(scheduler: LRMultiplier, group: int, iterations: Iterable[int]) -> str:
    """Ask a scheduler for its learning rates; "0.02 at 500, 0.002 at 60000".

    Args:
        scheduler: is left as it is.
        group: of the parameters, its number in the optimizer.
        iterations: from 0.
    """
    probe, found = copy.copy(scheduler), []
    for iteration in iterations:
        probe.last_epoch = iteration
        found.append(f"{probe.get_lr()[group]:.4g} at {iteration}")
    return ", ".join(found)
