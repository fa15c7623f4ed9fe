"""Random numbers that follow from where they are used, so that nothing of them has to be saved.

A run that was interrupted then goes on with the numbers that it would have had.
"""

import numpy as np
from detectron2.utils.env import seed_all_rng

# What random numbers are for; without it, a step and a sample of the same number would share them.
BUILD, SAMPLE, STEP = range(3)


def seed_for(seed: int, *where: int) -> None:
    """Seed PyTorch, NumPy and Python for one place of a run.

    Args:
        seed: of the run, 0 or more.
        where: ``BUILD``; or ``SAMPLE`` and its number; or ``STEP`` and what tells the step.
    """
    seed_all_rng(int(np.random.SeedSequence((seed, *where)).generate_state(1)[0]))
