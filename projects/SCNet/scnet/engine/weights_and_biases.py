"""Weights & Biases, which can follow a training beside TensorBoard."""

import os
from pathlib import Path

from detectron2.config import CfgNode

from ..whole_files import whole_file


def start_wandb(cfg: CfgNode) -> None:
    """Let Weights & Biases follow what TensorBoard gets; a run that is resumed goes on there.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise ValueError(
            f"WANDB.PROJECT is '{cfg.WANDB.PROJECT}', but Weights & Biases is not installed: "
            "pip install wandb. Or set WANDB.PROJECT ''."
        ) from error
    id_file = Path(cfg.OUTPUT_DIR, "wandb_id")
    run = wandb.init(
        project=cfg.WANDB.PROJECT,
        id=id_file.read_text() if id_file.exists() else None,
        resume="allow",
        dir=cfg.OUTPUT_DIR,
        name=os.path.basename(os.path.abspath(cfg.OUTPUT_DIR)),
        config=cfg,
        sync_tensorboard=True,
    )
    with whole_file(str(id_file)) as f:
        f.write(run.id)
