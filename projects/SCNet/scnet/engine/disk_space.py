"""Room for the checkpoints on the disk, which is looked for before the training, not after it."""

import logging
import shutil

from detectron2.config import CfgNode
from torch import nn

logger = logging.getLogger(__name__)
SLOTS = {"SGD": 1, "AdamW": 2}  # values that an optimizer keeps per weight


def checkpoint_bytes(model: nn.Module, cfg: CfgNode) -> int:
    """Estimate the size of a checkpoint: model, averaged weights and state of the optimizer.

    Args:
        model: the one that is trained.
        cfg: says what else a checkpoint has.
    """
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return size * (1 + cfg.SOLVER.EMA.ENABLED) + trained * SLOTS[cfg.SOLVER.OPTIMIZER]


def check_room(model: nn.Module, cfg: CfgNode) -> None:
    """Compare the size of all checkpoints with the free space; the log warns of too little.

    Args:
        model: the one that is trained.
        cfg: names the folder and the period of checkpoints.

    Raises:
        OSError: there is no room for two of them: a new one is written before an old one may go.
    """
    folder = cfg.OUTPUT_DIR
    size, free = checkpoint_bytes(model, cfg), shutil.disk_usage(folder).free
    count = cfg.SOLVER.MAX_ITER // cfg.SOLVER.CHECKPOINT_PERIOD + 2  # the final and the best one
    where = f"OUTPUT_DIR '{folder}' is on a disk with {free / 1e6:.0f} MB free"
    if free < 2 * size:
        raise OSError(
            f"{where}. A checkpoint has {size / 1e6:.0f} MB, and two must fit. Make room, or "
            "choose another OUTPUT_DIR."
        )
    if free < count * size:
        logger.warning(
            f"{where}, but the {count} checkpoints of this training will have "
            f"{count * size / 1e6:.0f} MB. Raise SOLVER.CHECKPOINT_PERIOD, or delete old ones as "
            "it goes."
        )
