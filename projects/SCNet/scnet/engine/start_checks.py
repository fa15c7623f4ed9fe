"""What is refused at the start, because it would show up late or never."""

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from ..config_mistakes import require_sizes
from ..data.datasets.catalog import current_classes
from ..data.once_per_machine import once_per_machine
from .evaluation.results import METRICS

AT_LEAST_ONE = {
    "IMS_PER_BATCH": "the number of images per step",
    "MAX_ITER": "the number of iterations",
    "CHECKPOINT_PERIOD": "the iterations from one checkpoint to the next",
    "GRADIENT_ACCUMULATION": "the number of parts of a batch",
}
# Values of Detectron2's "evaluator_type" of a data set; None is a data set without the entry.
EVALUATED_AS_COCO = ("coco", "coco_panoptic_seg", None)


def check_cfg(cfg: CfgNode) -> None:
    """Find mistakes in the keys of a training.

    Raises:
        ValueError: a value cannot be; the message names the key and says what to do.
    """
    require_sizes(cfg)
    solver = cfg.SOLVER
    for key, meaning in AT_LEAST_ONE.items():
        if solver[key] < 1:
            raise ValueError(f"SOLVER.{key} is {solver[key]}. It must be at least 1, {meaning}.")
    if solver.REFERENCE_WORLD_SIZE and solver.IMS_PER_BATCH % solver.REFERENCE_WORLD_SIZE:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH ({solver.IMS_PER_BATCH}) is not a multiple of "
            f"SOLVER.REFERENCE_WORLD_SIZE ({solver.REFERENCE_WORLD_SIZE}), the number of GPUs that "
            "the batch, learning rate and schedule are written for. Set it to 0 to take your own "
            "values as they are."
        )
    if cfg.TEST.PATIENCE > 0 and (cfg.TEST.EVAL_PERIOD <= 0 or not cfg.DATASETS.TEST):
        raise ValueError(
            f"TEST.PATIENCE {cfg.TEST.PATIENCE} counts evaluations during the training, and there "
            "are none. Set TEST.EVAL_PERIOD to their period in iterations, and DATASETS.TEST or "
            "--val-json to what they are on."
        )
    if cfg.TEST.BEST_METRIC and cfg.DATASETS.TEST:
        check_best_metric(cfg)


def check_device_of_processes(cfg: CfgNode) -> None:
    """Refuse a device that several processes cannot share.

    Raises:
        ValueError: MODEL.DEVICE is one GPU of several; or it is the CPU, but the processes use
            NCCL, as Detectron2 and torchrun choose where there are GPUs.
    """
    if comm.get_world_size() == 1:
        return
    if torch.device(cfg.MODEL.DEVICE).index is not None:
        raise ValueError(
            f"MODEL.DEVICE '{cfg.MODEL.DEVICE}' is one device for {comm.get_world_size()} "
            "processes. Leave it out: each process has a GPU of its own."
        )
    if cfg.MODEL.DEVICE == "cpu" and torch.distributed.get_backend() == "nccl":
        raise ValueError(
            "MODEL.DEVICE is 'cpu', but the processes exchange their gradients by NCCL, which "
            "cannot do it without GPUs. Hide the GPUs from them: set CUDA_VISIBLE_DEVICES='' "
            "before the command."
        )


def check_best_metric(cfg: CfgNode) -> None:
    """Refuse a metric that no evaluation gives.

    Raises:
        ValueError: TEST.BEST_METRIC is none of those that the message names.
    """
    chosen, names = cfg.TEST.BEST_METRIC, cfg.DATASETS.TEST
    tasks = ["segm", "bbox"] if cfg.MODEL.MASK_ON else ["bbox"]
    if len(names) > 1:
        tasks = [f"{name}/{task}" for name in names for task in tasks]
    metrics = [*METRICS, "AR1", "AR10", "ARs", "ARm", "ARl"]
    known = [f"{task}/{metric}" for task in tasks for metric in metrics]
    classes = once_per_machine(lambda: current_classes(names[0])) if "-" in chosen else []
    of_classes = [f"{ap}-{name}" for ap in ("AP", "AP50") for name in classes]
    if chosen not in known + [f"{task}/{metric}" for task in tasks for metric in of_classes]:
        raise ValueError(
            f"TEST.BEST_METRIC '{chosen}' is no result of the evaluation. There are: "
            f"{', '.join(known[:24])}; and {tasks[0]}/AP-CLASS and {tasks[0]}/AP50-CLASS with the "
            "name of a class."
        )


def check_evaluator_types(cfg: CfgNode) -> None:
    """Refuse test sets that have another measure than COCO's.

    Raises:
        ValueError: Detectron2 evaluates one of DATASETS.TEST in another way.
    """
    for name in cfg.DATASETS.TEST:
        kind = MetadataCatalog.get(name).get("evaluator_type")
        if kind not in EVALUATED_AS_COCO:
            raise ValueError(
                f"The data set '{name}' of DATASETS.TEST is to be evaluated as '{kind}' (its "
                "evaluator_type in Detectron2), and this program computes COCO's AP only, which "
                'would be another number. To train without evaluation, set DATASETS.TEST "()".'
            )
