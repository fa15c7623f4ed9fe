"""What the log, TensorBoard and Weights & Biases get beside Detectron2's own."""

import os
import resource
import sys
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm


def describe_schedule(cfg: CfgNode, written: CfgNode) -> str:
    """One line about batch, learning rate and schedule.

    Args:
        cfg: as it is used.
        written: before Detectron2 scaled it to the number of processes.
    """
    solver, processes = cfg.SOLVER, comm.get_world_size()
    parts = solver.GRADIENT_ACCUMULATION
    each = solver.IMS_PER_BATCH // (processes * parts)
    line = (
        f"Schedule: {solver.IMS_PER_BATCH} images per step ({processes} processes x {parts} parts "
        f"x {each}), learning rate {solver.BASE_LR:g}, {solver.MAX_ITER} iterations, divided by "
        f"{1 / solver.GAMMA:g} after {', '.join(map(str, solver.STEPS)) or 'none of them'}, "
        f"warm-up {solver.WARMUP_ITERS}"
    )
    reference = written.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, processes):
        return f"{line}, as the config says."
    return (
        f"{line}. The config is written for {reference} processes with {written.SOLVER.BASE_LR:g} "
        f"and {written.SOLVER.MAX_ITER} iterations (SOLVER.REFERENCE_WORLD_SIZE)."
    )


class PeakMemory(HookBase):
    """``peak_memory_mb``: what PyTorch allocated on the GPU, or the process took without one."""

    def after_step(self) -> None:
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**20
        else:
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peak = used / (2**20 if sys.platform == "darwin" else 2**10)  # in bytes or KiB
        self.trainer.storage.put_scalar("peak_memory_mb", peak, smoothing_hint=False)


def start_wandb(cfg: CfgNode) -> None:
    """Let Weights & Biases follow what TensorBoard gets. It goes on where a run is resumed.

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
    id_file.write_text(run.id)
