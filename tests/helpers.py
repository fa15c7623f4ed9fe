"""What several tests share and fixtures cannot give."""

from pathlib import Path

import torch
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = [
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.WEIGHTS", ""),
    *("MODEL.FPN.OUT_CHANNELS", "16"),
    *("MODEL.SEM_SEG_HEAD.CONVS_DIM", "16"),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", "16"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "16"),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", "40"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "20"),
    *("TEST.DETECTIONS_PER_IMAGE", "5"),
]


def make_instances(height: int, width: int, classes) -> Instances:
    """Objects at random places, each filling its box."""
    count = len(classes)
    corners = torch.rand(count, 2) * torch.tensor([width / 2, height / 2])
    sides = torch.rand(count, 2) * torch.tensor([width / 2 - 8, height / 2 - 8]) + 8
    boxes = torch.cat([corners, corners + sides], dim=1)
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist()):
        mask[y1:y2, x1:x2] = True
    instances = Instances((height, width), gt_boxes=Boxes(boxes))
    instances.gt_classes = torch.as_tensor(classes, dtype=torch.int64)
    instances.gt_masks = BitMasks(masks)
    return instances


def training_step(model, batch):
    """Forward and backward; all losses must be finite and all parameters have a gradient."""
    model.train()
    model.zero_grad()
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values()), losses
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"no gradient: {without}"
    return losses


def detect(model, batch):
    model.eval()
    with torch.no_grad():
        return [x["instances"] for x in model(batch)]
