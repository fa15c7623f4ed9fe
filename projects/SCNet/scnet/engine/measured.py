"""What a training has measured so far, by the number of steps that were done before."""

import os
from typing import Dict, Tuple

from .report.history import read_history

TASKS = ("segm", "bbox")
FINAL = "model_final.pth"


def evaluations(run: str) -> Tuple[Dict[int, Dict[str, float]], int]:
    """Read the evaluations of a training from its ``metrics.json``.

    Args:
        run: OUTPUT_DIR.

    Returns:
        steps -> name of the metric ("segm/AP"; with several data sets "NAME/segm/AP") -> value in
        percent; and the number of steps that were trained.

    Raises:
        ValueError: see :func:`scnet.engine.report.history.read_history`.
    """
    history = read_history(run)
    losses = history.get("total_loss")
    trained = int(losses.iterations[-1]) + 1 if losses else 0
    found: Dict[int, Dict[str, float]] = {}
    for name, series in history.items():
        if name.split("/")[-2:][0] in TASKS:
            for iteration, value in zip(series.iterations, series.values):
                found.setdefault(steps_done(iteration, trained), {})[name] = float(value)
    return found, trained


def steps_done(iteration: int, trained: int) -> int:
    """The steps that were done at an iteration; the number behind the last step is still its end.

    Args:
        iteration: of an evaluation or a checkpoint, from 0.
        trained: steps of the whole training.
    """
    return min(int(iteration) + 1, trained)


def is_finished(run: str) -> bool:
    """Whether a training has come to its end, and was evaluated there."""
    found, trained = evaluations(run)
    return trained in found and os.path.isfile(os.path.join(run, FINAL))
