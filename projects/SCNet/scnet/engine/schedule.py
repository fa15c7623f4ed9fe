"""The schedule of a training in words."""

from detectron2.config import CfgNode
from detectron2.utils import comm


def describe_schedule(cfg: CfgNode, written: CfgNode) -> str:
    """Describe batch size, learning rate and schedule in one line.

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
        f"{1 / solver.GAMMA:g} after {', '.join(map(str, solver.STEPS)) or 'no step'}, "
        f"warm-up {solver.WARMUP_ITERS}"
    )
    reference = written.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, processes):
        return f"{line}, as the config says."
    return (
        f"{line}. The config is written for {reference} processes with {written.SOLVER.BASE_LR:g} "
        f"and {written.SOLVER.MAX_ITER} iterations (SOLVER.REFERENCE_WORLD_SIZE)."
    )
