"""The numbers of a training so far, from the file that Detectron2 writes them to."""

import os
from typing import Dict, List, NamedTuple

import numpy as np

from ..json_lines import read_lines

METRICS = "metrics.json"
POINTS = 400  # of a curve; of a long training each is the mean of several


class Series(NamedTuple):
    """A number over the iterations of a training.

    Attributes:
        iterations, values: (N,).
    """

    iterations: np.ndarray
    values: np.ndarray


def read_history(folder: str) -> Dict[str, Series]:
    """Read ``metrics.json`` in OUTPUT_DIR, if there is one.

    A run that went on from a checkpoint has written the numbers of some iterations twice; the last
    ones count. What is not a number, such as the AP of a class without objects, is left out.

    Returns:
        the numbers by their names.

    Raises:
        ValueError: see :func:`read_lines`.
    """
    found: Dict[str, Dict[int, float]] = {}
    for record in read_lines(os.path.join(folder, METRICS)):
        iteration = record.pop("iteration")
        for name, value in record.items():
            if np.isfinite(value):
                found.setdefault(name, {})[iteration] = value
    return {name: _series(values) for name, values in found.items()}


def with_last(
    history: Dict[str, Series], iteration: int, metrics: Dict[str, float]
) -> Dict[str, Series]:
    """Add the numbers of an evaluation that are not in the file yet."""
    extended = dict(history)
    for name, value in metrics.items():
        if np.isfinite(value):
            before = history.get(name, Series(np.zeros(0, int), np.zeros(0)))
            former = before.iterations != iteration
            extended[name] = Series(
                np.append(before.iterations[former], iteration),
                np.append(before.values[former], value),
            )
    return extended


def names_of_losses(history: Dict[str, Series]) -> List[str]:
    """The parts of the loss that is trained, in the order of the alphabet."""
    return sorted(name for name in history if name.startswith("loss"))


def thinned(series: Series) -> Series:
    """Take means of neighbours, so that a curve has no more points than can be seen."""
    size = -(-len(series.values) // POINTS)
    if size <= 1:
        return series
    starts = np.arange(0, len(series.values), size)
    counts = np.diff([*starts, len(series.values)])
    return Series(*(np.add.reduceat(x, starts) / counts for x in series))


def _series(values: Dict[int, float]) -> Series:
    iterations = sorted(values)
    return Series(np.array(iterations), np.array([values[x] for x in iterations]))
