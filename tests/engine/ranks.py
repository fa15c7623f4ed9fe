"""What two processes tell each other in the steps of a training, for test_ranks.py.

python ranks.py OUTPUT: each process writes what it saw to OUTPUT/0.json or OUTPUT/1.json. The
second process has no objects and no semantic labels.
"""

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch
from detectron2.engine import HookBase, launch
from detectron2.utils import comm
from torch import distributed

from helpers import TINY
from scnet import get_config_file
from scnet.config import read_cfg
from scnet.engine import Trainer, configure_data

OPTIONS = [
    *TINY,
    *("SEED", 3, "DATALOADER.NUM_WORKERS", 0, "SOLVER.MAX_ITER", 4, "SOLVER.STEPS", ()),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.REFERENCE_WORLD_SIZE", 0, "DATASETS.TEST", ()),
    *("INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MAX_SIZE_TRAIN", 96),
]
HTC = [
    *("MODEL.SCNET.MASK_BRANCH", "interleaved", "MODEL.ROI_MASK_HEAD.NAME", "HTCMaskHead"),
    *("MODEL.SCNET.FEATURE_RELAY", False, "MODEL.ROI_MASK_HEAD.NUM_CONV", 2),
]
COLLECTIVES = [
    *("all_reduce", "reduce", "broadcast", "all_gather", "gather", "barrier", "scatter"),
    *("all_gather_into_tensor", "all_gather_object", "gather_object", "broadcast_object_list"),
]


class Watch(HookBase):
    """Notes the collectives of each step, and the pictures that are kept after it."""

    def __init__(self):
        self.collectives = []
        self.pictures = []

    def before_step(self):
        self.collectives.append([])

    def after_step(self):
        self.pictures.append(len(self.trainer.storage._vis_data))


def watch_collectives(watch, name):
    call = getattr(distributed, name)

    def watched(*args, **kwargs):
        if watch.collectives:
            watch.collectives[-1].append(name)
        return call(*args, **kwargs)

    setattr(distributed, name, watched)
    return lambda: setattr(distributed, name, call)


def make_trainer(output, *opts):
    cfg = read_cfg(get_config_file("quickstart.yaml"), [*OPTIONS, *opts, "OUTPUT_DIR", str(output)])
    configure_data(cfg, [])
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    if not comm.is_main_process():
        mapper = trainer.data_loader.mapper
        trainer.data_loader.mapper = lambda record: without_objects(mapper(record))
    return trainer


def without_objects(sample):
    sample["instances"] = sample["instances"][:0]
    sample["sem_seg"] = torch.full_like(sample["sem_seg"], 255)
    return sample


def steps(output, *opts):
    """Train four steps; note the collectives, the pictures, the losses and what is logged."""
    trainer, watch, losses = make_trainer(output, "VIS_PERIOD", 1, *opts), Watch(), []
    write = trainer._trainer._write_metrics

    def note(values, data_time):
        losses.append({name: value.item() for name, value in values.items()})
        write(values, data_time)

    trainer._trainer._write_metrics = note
    trainer.register_hooks([watch])
    undo = [watch_collectives(watch, name) for name in COLLECTIVES]
    trainer.train()
    for each in undo:
        each()
    logged = {name: value for name, (value, _) in trainer.storage.latest().items()}
    # In the first step the loader begins, too; and after the last the training ends.
    steps = {"collectives": watch.collectives[1:-1], "pictures": watch.pictures}
    gradients = [p.grad for p in trainer.trained.parameters() if p.grad is not None]
    views = len(gradients) > 50 and all(gradient._is_view() for gradient in gradients)
    return {**steps, "losses": losses, "logged": logged, "views": views}


def failure(output, break_second, *opts):
    """Train with a second process in which something is not finite in the second step."""
    trainer = make_trainer(output, *opts)

    def broken():
        return trainer.iter == 1 and not comm.is_main_process()

    break_second(trainer.trained, broken)
    step, message = trainer._trainer, ""
    before = []
    after_backward = step.after_backward
    step.after_backward = lambda: (before.append(checksum(trainer.trained)), after_backward())
    try:
        trainer.train()
    except FloatingPointError as error:
        message = str(error)
    steps = {"message": message, "iteration": trainer.iter, "backward passes": len(before)}
    names = [Path(x["file_name"]).name for batch, _ in step.done for x in batch]
    return {**steps, "images": names, "finite": checksum(trainer.trained) > 0}


def checksum(model):
    return sum(p.detach().abs().sum().item() for p in model.parameters())


def break_loss(model, broken):
    head, losses = model.semantic_head, model.semantic_head.losses

    def make(*args):
        made = losses(*args)
        if broken():
            made["loss_sem_seg"] = made["loss_sem_seg"] * float("nan")
        return made

    head.losses = make


def break_proposals(model, broken):
    """As Detectron2's RPN does when they are not finite."""
    calls = []

    def check(*_):
        if broken() and not calls:  # in the first part of the step
            calls.append(1)
            raise FloatingPointError("Predicted boxes or scores contain Inf/NaN.")

    model.proposal_generator.register_forward_pre_hook(check)


class Signal(HookBase):
    """The second process gets SIGTERM in the second step."""

    def before_step(self):
        if self.trainer.iter == 1 and not comm.is_main_process():
            os.kill(os.getpid(), signal.SIGTERM)


def stopped(output):
    trainer = make_trainer(output)
    trainer.register_hooks([Signal()])
    trainer.train()
    return {"signal": trainer.stopped_by, "iteration": trainer.iter}


def main(output):
    torch.set_num_threads(1)
    two_parts = ["SOLVER.GRADIENT_ACCUMULATION", 2, "SOLVER.IMS_PER_BATCH", 4]
    result = {
        "SCNet": steps(output / "scnet"),
        "HTC": steps(output / "htc", *HTC),
        "loss": failure(output / "loss", break_loss),
        "proposals": failure(output / "proposals", break_proposals, *two_parts),
        "stopped": stopped(output / "stopped"),
    }
    (output / f"{comm.get_rank()}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    launch(main, 2, dist_url="auto", args=(Path(sys.argv[1]),), timeout=timedelta(seconds=120))
