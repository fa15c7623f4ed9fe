"""Is there room for the checkpoints? It is asked before the training, not after it."""

import logging
import os
import shutil
import tempfile
from typing import Dict

from detectron2.config import CfgNode
from torch import nn

logger = logging.getLogger(__name__)
SLOTS = {"SGD": 1, "AdamW": 2}  # values that an optimizer keeps per weight


def checkpoint_bytes(model: nn.Module, cfg: CfgNode) -> int:
    """The size of a checkpoint: the model, the state of the optimizer, and averaged weights."""
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return size * (1 + cfg.SOLVER.EMA.ENABLED) + trained * SLOTS[cfg.SOLVER.OPTIMIZER]


def check_disk(model: nn.Module, cfg: CfgNode) -> None:
    """Make OUTPUT_DIR, and see whether checkpoints can be written there.

    Raises:
        OSError: nothing can be written, or there is no room for two checkpoints: a new one is
            written before an old one may go. If there is no room for all of the run, the log
            says so.
    """
    folder = cfg.OUTPUT_DIR
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as f:
            f.write(bytes(1 << 16))
    except OSError as error:
        raise OSError(f"OUTPUT_DIR '{folder}' cannot be written to: {error}.") from error
    size, free = checkpoint_bytes(model, cfg), shutil.disk_usage(folder).free
    count = cfg.SOLVER.MAX_ITER // cfg.SOLVER.CHECKPOINT_PERIOD + 2  # the final and the best one
    mb: Dict[str, str] = {
        name: f"{value / 1e6:.0f} MB"
        for name, value in {"one": size, "two": 2 * size, "all": count * size, "free": free}.items()
    }
    if free < 2 * size:
        raise OSError(
            f"OUTPUT_DIR '{folder}' is on a disk with {mb['free']} free. A checkpoint has "
            f"{mb['one']}, and two must fit. Make room, or choose another OUTPUT_DIR."
        )
    if free < count * size:
        logger.warning(
            f"OUTPUT_DIR '{folder}' is on a disk with {mb['free']} free, but the {count} "
            f"checkpoints of this training will have {mb['all']}. Raise SOLVER.CHECKPOINT_PERIOD, "
            "or delete old ones as it goes."
        )
