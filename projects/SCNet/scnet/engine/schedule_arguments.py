"""The arguments --epochs, --batch and --lr, in place of the iterations of a config.

A batch of other size takes the linear rule (Goyal et al., "Accurate, Large Minibatch SGD: Training
ImageNet in 1 Hour", arXiv:1706.02677), as Detectron2 applies it to the number of processes.
"""

import math
from argparse import Namespace
from typing import Dict, List, Sequence

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.utils import comm

from ..data.datasets.catalog import summarize
from ..data.once_per_machine import once_per_machine
from ..data.training_records import training_records
from .output_dir import changed_keys

# The keys that an argument stands for, which cannot be given beside it.
CONTRADICTIONS = {
    "epochs": ("SOLVER.MAX_ITER", "SOLVER.STEPS"),
    "batch": ("SOLVER.IMS_PER_BATCH",),
    "lr": ("SOLVER.BASE_LR",),
}
# Those that follow from the arguments, unless the user has given them.
FOLLOW = (
    *("SOLVER.BASE_LR", "SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.WARMUP_ITERS"),
    *("SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD"),
)


def set_schedule(cfg: CfgNode, args: Namespace, keep: Sequence[str] = ()) -> List[str]:
    """Set the keys of a schedule that the arguments describe.

    The values are those in force, in all processes together: a config that is written for another
    number of processes (SOLVER.REFERENCE_WORLD_SIZE) is scaled to that of this run first.

    Args:
        cfg: with its data sets, see :func:`check_cfg`; is changed.
        args: ``epochs`` over the training images; ``batch``, images per step; ``lr``, the learning
            rate. None is for what the config says.
        keep: keys that the user has given; the arguments do not change them.

    Returns:
        what came out, a line; none if no argument is given.

    Raises:
        ValueError: an argument is not positive, contradicts a key, or is of no use; or the batch
            cannot be divided among the processes.
    """
    given = {name: value for name in CONTRADICTIONS if (value := getattr(args, name)) is not None}
    if not given:
        return []
    check_arguments(given, keep, args.eval_only)
    written, solver, processes = cfg.clone(), cfg.SOLVER, comm.get_world_size()
    if given.get("batch", 0) % processes:
        raise ValueError(
            f"--batch {args.batch} cannot be divided among {processes} processes. Give a multiple "
            f"of {processes}."
        )
    scale_to(cfg, solver.REFERENCE_WORLD_SIZE, processes)
    scaled = cfg.clone()
    if "batch" in given:
        scale_to(cfg, solver.IMS_PER_BATCH, args.batch)  # as if each image had a process
        solver.REFERENCE_WORLD_SIZE = scaled.SOLVER.REFERENCE_WORLD_SIZE
    if "lr" in given:
        solver.BASE_LR = args.lr
    line = f"Schedule of {', '.join(f'--{name} {value:g}' for name, value in given.items())}"
    if "epochs" in given:
        images = once_per_machine(lambda: count_training_images(cfg))
        iterations = math.ceil(args.epochs * images / solver.IMS_PER_BATCH)
        stretch(cfg, iterations)
        line += f", for {images} images"
    for key in set(keep) & set(FOLLOW):
        section, name = key.split(".")
        cfg[section][name] = scaled[section][name]
    changes = [f"{key} {change}" for key, change in changed_keys(written, cfg).items()]
    return [f"{line}: {', '.join(changes) or 'as the config says'}"]


def check_arguments(given: Dict[str, float], keep: Sequence[str], eval_only: bool) -> None:
    """Find arguments that cannot be.

    Raises:
        ValueError: see :func:`set_schedule`.
    """
    for name, value in given.items():
        if eval_only:
            raise ValueError(f"--{name} is for a training, and --eval-only trains nothing.")
        if not 0 < value < math.inf:
            raise ValueError(f"--{name} is {value:g}. It must be above 0.")
        both = [key for key in CONTRADICTIONS[name] if key in keep]
        if both:
            raise ValueError(f"--{name} stands for {both[0]}, too. Leave one of them out.")


def scale_to(cfg: CfgNode, before: int, now: int) -> None:
    """Scale batch, learning rate and schedule as Detectron2 does for a number of processes.

    Args:
        cfg: is written for ``before`` processes, or for any number if that is 0; is changed.
        now: the number to scale to.
    """
    cfg.SOLVER.REFERENCE_WORLD_SIZE = before
    cfg.merge_from_other_cfg(DefaultTrainer.auto_scale_workers(cfg, now))


def stretch(cfg: CfgNode, iterations: int) -> None:
    """Give a schedule another length; steps and periods keep their shares of it.

    A warm-up becomes shorter with the schedule, but not longer.

    Args:
        cfg: is changed.
        iterations: of the new schedule.
    """
    solver = cfg.SOLVER
    ratio = iterations / solver.MAX_ITER
    steps = sorted({round(step * ratio) for step in solver.STEPS})
    solver.STEPS = tuple(step for step in steps if 0 < step < iterations)
    solver.WARMUP_ITERS = round(solver.WARMUP_ITERS * min(1, ratio))
    solver.CHECKPOINT_PERIOD = max(1, round(solver.CHECKPOINT_PERIOD * ratio))
    if cfg.TEST.EVAL_PERIOD > 0:
        cfg.TEST.EVAL_PERIOD = max(1, round(cfg.TEST.EVAL_PERIOD * ratio))
    solver.MAX_ITER = iterations


def count_training_images(cfg: CfgNode) -> int:
    """Count the images of an epoch: without empty ones, if the config leaves these out."""
    filter_empty, count = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS, 0
    for name in cfg.DATASETS.TRAIN:
        found = summarize(name)
        if found:  # nothing is read again
            count += found.num_images - (found.num_empty_images if filter_empty else 0)
        else:
            count += sum(1 for _ in training_records([name], filter_empty))
    return count
