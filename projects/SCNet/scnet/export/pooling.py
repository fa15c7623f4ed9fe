"""What :class:`ContextPooler` does, for the boxes of one image, with torchvision's RoIAlign.

Shapes: R boxes, C channels, S the side of the pooled features.
"""

from typing import Dict, List

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from ..modeling.context_pooler import GLOBAL_CONTEXT, SEMANTIC, ContextPooler


def pool(pooler: ContextPooler, features: Dict[str, Tensor], boxes: Tensor) -> Tensor:
    """
    Args:
        features: maps (1, C, H, W) by name.
        boxes: (R, 4).

    Returns:
        (R, C, S, S)
    """
    rois = F.pad(boxes, (1, 0))  # the number of the image, 0, comes first
    maps = {name: features[name] for name in pooler.in_features}
    semantic, context = maps.pop(SEMANTIC, None), maps.pop(GLOBAL_CONTEXT, None)
    x = pool_pyramid(pooler.pooler, list(maps.values()), rois)
    if semantic is not None:
        pooled = align(pooler.semantic_pooler.level_poolers[0], semantic, rois)
        x = x + F.adaptive_avg_pool2d(pooled, pooler.output_size)
    if context is not None:
        x = x + context
    return x


def pool_pyramid(pooler: ROIPooler, levels: List[Tensor], rois: Tensor) -> Tensor:
    """Pool every box from the level that fits its size (Eq. 1 of the FPN paper).

    Args:
        levels: maps (1, C, H, W), from fine to coarse.
        rois: (R, 5), the number of the image and the box.
    """
    sides = (rois[:, 3:] - rois[:, 1:3]).prod(dim=1).sqrt()
    level = pooler.canonical_level + torch.log2(sides / pooler.canonical_box_size + 1e-8)
    level = level.floor().clamp(pooler.min_level, pooler.max_level) - pooler.min_level
    x = rois.new_zeros(rois.shape[0], levels[0].shape[1], *pooler.output_size)
    for k, (layer, features) in enumerate(zip(pooler.level_poolers, levels)):
        index = (level == k).nonzero()[:, 0]
        x = x.index_put((index,), align(layer, features, rois[index]))
    return x


def align(layer: ROIAlign, features: Tensor, rois: Tensor) -> Tensor:
    """RoIAlign with the settings of a layer: (1, C, H, W), (R, 5) -> (R, C, S, S)."""
    return roi_align(
        features,
        rois,
        layer.output_size,
        layer.spatial_scale,
        layer.sampling_ratio,
        layer.aligned,
    )
