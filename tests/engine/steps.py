"""Training steps in one process or several, for test_distributed.py.

python steps.py PROCESSES OUTPUT: 20 steps on two images, which the processes divide; saves the
gradients of the first step and how far the weights have moved after the last.
"""

import sys

import torch
import torchvision
from detectron2.engine import launch
from detectron2.engine.defaults import create_ddp_model
from detectron2.modeling import build_model
from detectron2.structures import Boxes
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from helpers import TINY, make_instances
from scnet import get_cfg, get_config_file

STEPS = 20
OBJECTS = ([0, 1, 2], [4])  # per image; so the samples of the two are not equally many
SIZE = (64, 96)


def first_instead_of_random(n, **kwargs):
    """A permutation that does not depend on what else is in the batch."""
    return torch.arange(n)


def compute_in_double() -> None:
    """Let boxes have double precision as the model has.

    In single precision the order of two boxes of nearly one score may change with rounding, and
    with it the samples. Detectron2 makes all boxes single.
    """
    nms = torchvision.ops.boxes.nms
    torchvision.ops.boxes.nms = lambda boxes, scores, t: nms(boxes.double(), scores.double(), t)

    def keep(self, tensor):
        self.tensor = tensor.double().reshape(-1, 4)

    Boxes.__init__ = keep


def make_batch(num_semantic):
    torch.manual_seed(1)
    batch = []
    for k, classes in enumerate(OBJECTS):
        sem_seg = torch.randint(0, num_semantic, SIZE)
        sem_seg[: 40 * k] = 255
        image = torch.rand(3, *SIZE).double() * 255
        instances = make_instances(*SIZE, classes)
        batch.append({"image": image, "sem_seg": sem_seg, "instances": instances})
    return batch


def main(output):
    torch.set_num_threads(1)
    compute_in_double()
    torch.randperm = first_instead_of_random
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("quickstart.yaml"))
    cfg.merge_from_list([*TINY, "MODEL.SCNET.FREEZE_BN_STATISTICS", True])
    torch.manual_seed(0)
    model = create_ddp_model(build_model(cfg).double(), device_ids=None, broadcast_buffers=False)
    model.train()
    batch = make_batch(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    batch = batch[comm.get_rank() :: comm.get_world_size()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    start = [p.detach().clone() for p in model.parameters()]
    result = {}
    with EventStorage():
        for step in range(STEPS):
            optimizer.zero_grad()
            losses = model(batch)
            sum(losses.values()).backward()
            optimizer.step()
            if step == 0:
                names = [n.removeprefix("module.") for n, _ in model.named_parameters()]
                gradients = dict(zip(names, (p.grad.clone() for p in model.parameters())))
                result["gradients"] = gradients
                result["losses"] = losses
    moves = [p.detach() - before for p, before in zip(model.parameters(), start)]
    result["moves"] = dict(zip(names, moves))
    if comm.is_main_process():
        torch.save(result, output)


if __name__ == "__main__":
    launch(main, int(sys.argv[1]), dist_url="auto", args=(sys.argv[2],))
