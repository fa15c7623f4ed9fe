"""Training steps of all configs, in two processes that have nothing to learn in turn.

python empty_processes.py: for test_distributed.py. A parameter that takes no part in one process
makes DDP raise, or the other process wait until the time-out.
"""

from datetime import timedelta

import torch
from detectron2.engine import launch
from detectron2.engine.defaults import create_ddp_model
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from helpers import NARROW_BACKBONES, TINY, make_instances, shipped_models

NARROW = [
    *(*TINY, *NARROW_BACKBONES),
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.NUM_GROUPS", 1, "MODEL.RESNETS.WIDTH_PER_GROUP", 4),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
]
SIZE = (64, 64)
# Objects of the two processes, step by step; what has none has no semantic labels either.
STEPS = [([0], []), ([], [0]), ([], [])]


def make_input(cfg, objects):
    high = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    labels = torch.randint(0, high, SIZE) if objects else torch.full(SIZE, 255)
    instances = make_instances(*SIZE, objects)
    return {"image": torch.rand(3, *SIZE) * 255, "sem_seg": labels, "instances": instances}


def main():
    torch.set_num_threads(1)
    for (name, *_), cfg in shipped_models(NARROW):
        torch.manual_seed(0)
        model = create_ddp_model(build_model(cfg), device_ids=None, broadcast_buffers=False)
        model.train()
        with EventStorage():
            for objects in STEPS:
                model.zero_grad()
                losses = model([make_input(cfg, objects[comm.get_rank()])])
                assert all(torch.isfinite(loss) for loss in losses.values()), (name, losses)
                sum(losses.values()).backward()
                without = [
                    n for n, p in model.named_parameters() if p.requires_grad and p.grad is None
                ]
                assert not without, f"{name}: no gradient for {without}"
        if comm.is_main_process():
            print(f"{name}: {len(losses)} losses", flush=True)


if __name__ == "__main__":
    launch(main, 2, dist_url="auto", timeout=timedelta(seconds=120))
