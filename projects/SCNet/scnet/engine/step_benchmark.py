"""How long a training step of a model takes, and the memory it needs.

The weights are random, so the model itself would find no objects to train masks on. Copies of the
objects join its proposals, and the boxes of the stages stay where they are. So each mask head
trains on nearly as many regions as a step can have. The learning rate is 0: all steps are the same
work.
"""

import gc
from itertools import repeat
from math import nan
from pathlib import Path
from typing import Any, Dict, List, Tuple

import torch
from detectron2.config import CfgNode
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..config import read_cfg
from ..inference.benchmark import Settings
from ..inference.benchmark.measure import matrix_product_speed, summarize
from ..inference.benchmark.models import channels_last, make_batch, make_model
from ..inference.benchmark.parts import clock
from ..modeling.compiled_regions import compile_regions
from .optimizer import build_optimizer
from .step import StepTrainer

OBJECTS = 8  # per image; COCO has 7.3
MOVES = 0.04  # of the copies, in sides of the object: their IoU with it is about 0.87


def measure_step(config_file: str, settings: Settings) -> Dict[str, Any]:
    """Measure the step that :class:`scnet.engine.Trainer` takes, on random images.

    It has the images of a batch copied to the device, forward and backward pass and the optimizer.
    SOLVER.OPTIMIZER, FUSED and CHANNELS_LAST of the config are followed; SOLVER.AMP and COMPILE are
    not, since the settings have them.

    Args:
        config_file: of the model.
        settings: the size of the images, the batch, the precision, the rounds, and whether to use
            ``torch.compile``.

    Returns:
        "config"; "total", the median of the seconds of a step, "min" and "max"; "GFLOPs" of a step;
        "limit", the seconds that these take at the speed of a large matrix product, and "of limit",
        limit / total; "channels last", "yes" or "no"; "MiB", what PyTorch had allocated on a GPU at
        most in a step, nan on a CPU.

    Raises:
        FloatingPointError: a loss is not finite.
        torch.cuda.OutOfMemoryError: the GPU has too little memory.
    """
    gc.collect()  # the model that was measured before
    trainer = make_trainer(config_file, settings)
    on_gpu = settings.device == "cuda"
    rounds = []
    with EventStorage():
        with FlopCounterMode(display=False) as counter:
            trainer.run_step()
        gflops = counter.get_total_flops() / 1e9
        if settings.compile:  # after the count, which does not see into what is compiled
            compile_regions(trainer.model)
        for _ in range(settings.warmup + settings.rounds):
            # Between the steps: a machine that becomes slower does so for both.
            limit = gflops / matrix_product_speed(settings)
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            start = clock(trainer.device)
            trainer.run_step()
            seconds = clock(trainer.device) - start
            mib = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else nan
            rounds.append({"total": seconds, "limit": limit, "MiB": mib})
    row = summarize(rounds[settings.warmup :])
    return {
        "config": Path(config_file).stem,
        **row,
        "GFLOPs": gflops,
        "of limit": row["limit"] / row["total"],
        "channels last": channels_last(trainer.model),
    }


def make_trainer(config_file: str, settings: Settings) -> StepTrainer:
    """Put together the step of a model, whose mask heads have as much to do as can be."""
    cfg = read_cfg(config_file, [*settings.opts, "SOLVER.BASE_LR", "0.0"])
    model = make_model(config_file, "", settings)
    if cfg.SOLVER.CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, FastRCNNOutputLayers):
            nn.init.zeros_(module.bbox_pred.weight)  # boxes stay where they are
    count = int(cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE * cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION)

    def add_copies(_: nn.Module, inputs: Tuple, outputs: Tuple) -> Tuple:
        (_images, _features, targets), (proposals, losses) = inputs, outputs
        return [with_copies(p, t, count) for p, t in zip(proposals, targets)], losses

    model.proposal_generator.register_forward_hook(add_copies)
    dtype = getattr(torch, settings.dtype)
    trainer = StepTrainer(
        model,
        repeat(make_training_batch(cfg, settings)),
        build_optimizer(cfg, model),
        precision=None if dtype == torch.float32 else dtype,
    )
    if trainer.grad_scaler.is_enabled():
        # The usual scale, 65536, overflows at first, and such steps are without the optimizer.
        trainer.grad_scaler = torch.amp.GradScaler(settings.device, init_scale=1.0)
    return trainer


def make_training_batch(cfg: CfgNode, settings: Settings) -> List[Dict]:
    """Random images with objects that fill their boxes, and semantic maps as the mapper makes them.

    Returns:
        a dict per image, as for the model in training; "sem_seg" is uint8 at the stride of the
        semantic head.
    """
    batch = make_batch(cfg.INPUT.FORMAT, settings, cfg.INPUT.CHANNELS)
    height, width = settings.size
    stride, classes = cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    small = (-(-height // stride), -(-width // stride))
    for x in batch:
        x["sem_seg"] = torch.randint(classes, small, dtype=torch.uint8)
        x["instances"] = make_objects(height, width, cfg.MODEL.ROI_HEADS.NUM_CLASSES)
    return batch


def make_objects(height: int, width: int, num_classes: int) -> Instances:
    """Objects at random places, a tenth to a half as high and wide as the image."""
    image_sides = torch.tensor([width, height])
    sides = (0.1 + 0.4 * torch.rand(OBJECTS, 2)) * image_sides
    corners = torch.rand(OBJECTS, 2) * (image_sides - sides)
    boxes = torch.cat([corners, corners + sides], dim=1).round()
    x, y = torch.arange(width) + 0.5, torch.arange(height)[:, None] + 0.5
    x1, y1, x2, y2 = boxes[:, :, None, None].unbind(dim=1)
    objects = Instances((height, width), gt_boxes=Boxes(boxes))
    objects.gt_classes = torch.randint(num_classes, (OBJECTS,))
    objects.gt_masks = BitMasks((x1 < x) & (x < x2) & (y1 < y) & (y < y2))
    return objects


def with_copies(proposals: Instances, objects: Instances, count: int) -> Instances:
    """Add copies of the objects of an image, a little moved, to its proposals.

    Args:
        proposals: with "proposal_boxes" and "objectness_logits".
        objects: with "gt_boxes".
        count: of the copies.
    """
    boxes = objects.gt_boxes.tensor
    boxes = boxes[torch.arange(count, device=boxes.device) % len(boxes)]
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    copies = Instances(proposals.image_size)
    copies.proposal_boxes = Boxes(boxes + MOVES * torch.randn_like(boxes) * sides)
    copies.objectness_logits = proposals.objectness_logits.new_zeros(count)
    return Instances.cat([proposals, copies])
