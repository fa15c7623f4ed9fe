"""What :class:`ContextPooler` does, for the boxes of one image.

Shapes: R boxes, C channels, S the side of the pooled features.
"""

from typing import Dict, List

from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from ..modeling.context_pooler import GLOBAL_CONTEXT, SEMANTIC, ContextPooler


def pool(
    pooler: ContextPooler, features: Dict[str, Tensor], boxes: Tensor, weighted_sums: bool
) -> Tensor:
    """
    Args:
        features: maps (1, C, H, W) by name.
        boxes: (R, 4).
        weighted_sums: pool as the model itself does on a CPU, if it can; else with torchvision's
            RoIAlign, which is an operator of ONNX.

    Returns:
        (R, C, S, S)
    """
    rois = F.pad(boxes, (1, 0))  # the number of the image, 0, comes first
    maps = {name: features[name] for name in pooler.in_features}
    semantic, context = maps.pop(SEMANTIC, None), maps.pop(GLOBAL_CONTEXT, None)
    levels, level = list(maps.values()), pooler.level_of([Boxes(boxes)])
    if weighted_sums and pooler.can_sum():
        x = pooler.sum(levels, semantic, rois, level)
    else:
        x = pool_pyramid(pooler.pooler, levels, rois, level)
        if semantic is not None:
            pooled = align(pooler.semantic_pooler.level_poolers[0], semantic, rois)
            x = x + F.adaptive_avg_pool2d(pooled, pooler.output_size)
    if context is not None:
        x = x + context
    return x


def pool_pyramid(pooler: ROIPooler, levels: List[Tensor], rois: Tensor, level: Tensor) -> Tensor:
    """Pool every box from its level.

    Args:
        levels: maps (1, C, H, W), from fine to coarse.
        rois: (R, 5), the number of the image and the box.
        level: (R,), the index of the level of each box.
    """
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
