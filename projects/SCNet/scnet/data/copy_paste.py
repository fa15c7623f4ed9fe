"""Copy-paste: objects of one training image are pasted onto another."""

from typing import Dict, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_util
from torch import Tensor

from ..modeling.run_length_masks import RunLengthMasks
from .masks import unpack_runs

SHARE = 0.5  # of the objects of an image that are pasted, on average


class CopyPaste:
    """Pastes a random half of the objects of one image onto another, at their places.

    As in Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
    Segmentation" (CVPR 2021): masks and boxes of objects that are covered in part follow, and those
    that are covered as a whole are gone. The semantic map of the pasted pixels is that of their
    image.
    """

    def __init__(self, cfg: CfgNode):
        """
        Args:
            cfg: has the share of the images that get objects of others (INPUT.COPY_PASTE).

        Raises:
            ValueError: this is no share, or there will be no bitmaps to cut objects out.
        """
        self.probability = cfg.INPUT.COPY_PASTE
        self.semantic_stride = cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE
        if not 0 <= self.probability <= 1:
            raise ValueError(
                f"INPUT.COPY_PASTE is {self.probability}. It must be the share of the images that "
                "get objects of others, from 0 to 1."
            )
        if self.probability and not (cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT == "bitmask"):
            raise ValueError(
                "INPUT.COPY_PASTE needs MODEL.MASK_ON True and INPUT.MASK_FORMAT 'bitmask'. Set "
                "these, or INPUT.COPY_PASTE 0."
            )

    def is_due(self) -> bool:
        """Draw whether an image gets objects of another."""
        return self.probability > 0 and np.random.uniform() < self.probability

    def __call__(self, target: Dict, source: Dict) -> Dict:
        """Paste objects.

        Args:
            target, source: what :class:`scnet.data.SCNetDatasetMapper` makes of two images. What
                lies beyond the target's size is not pasted.

        Returns:
            a changed copy of the target; the target itself if nothing is pasted.
        """
        if "instances" not in target or "instances" not in source:
            return target
        ours, theirs = target["instances"], source["instances"]
        theirs = theirs[torch.as_tensor(np.random.uniform(size=len(theirs)) < SHARE)]
        pasted = _in_size(theirs.gt_masks.bitmaps().tensor, ours.image_size)
        covered = pasted.any(dim=0)
        if not covered.any():
            return target
        result = {**target, "image": _over(target["image"], source["image"], covered)}
        if "sem_seg" in target:
            stride = self.semantic_stride
            result["sem_seg"] = _over(
                target["sem_seg"], source["sem_seg"], covered[::stride, ::stride]
            )
        masks = torch.cat([ours.gt_masks.bitmaps().tensor & ~covered, pasted])
        classes = torch.cat([ours.gt_classes, theirs.gt_classes])
        result["instances"] = _make_instances(masks, classes)
        return result


def _in_size(values: Tensor, size: Sequence[int]) -> Tensor:
    """Cut (..., h, w) off to a size, or fill it up with zeros."""
    height, width = (min(a, b) for a, b in zip(values.shape[-2:], size))
    result = values.new_zeros((*values.shape[:-2], *size))
    result[..., :height, :width] = values[..., :height, :width]
    return result


def _over(ours: Tensor, theirs: Tensor, covered: Tensor) -> Tensor:
    """Take the covered pixels of another image or map; all (..., h, w)."""
    return torch.where(covered, _in_size(theirs, ours.shape[-2:]), ours)


def _make_instances(masks: Tensor, classes: Tensor) -> Instances:
    """Make instances of the masks (G, H, W) that have pixels; their boxes go around these."""
    visible = masks.flatten(1).any(dim=1)
    size = (masks.shape[1], masks.shape[2])
    rles = [mask_util.encode(np.asfortranarray(mask)) for mask in masks[visible].byte().numpy()]
    boxes = torch.as_tensor(np.array([mask_util.toBbox(rle) for rle in rles])).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    runs = unpack_runs([rle["counts"] for rle in rles])
    return Instances(
        size,
        gt_boxes=Boxes(boxes.float()),
        gt_classes=classes[visible],
        gt_masks=RunLengthMasks.from_runs(runs, size),
    )
