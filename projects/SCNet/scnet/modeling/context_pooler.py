"""The pooler that adds to every RoI what the whole image knows.

The outputs of the semantic head and of the global context head are two more entries of the
feature dict. Box stages and mask branch pool with the same module, so neither needs to know
which of the two is there.

Shapes: N images, R regions over all images, C channels, S the side of the pooled features.
"""

from typing import List, Optional

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from detectron2.structures import Boxes
from torch import Tensor, nn
from torch.nn import functional as F

from .roi_align import Source, sum_of_roi_aligns

SEMANTIC = "semantic"
GLOBAL_CONTEXT = "global_context"


class ContextPooler(nn.Module):
    """RoIAlign of the pyramid, plus that of the semantic embedding, plus the context vector.

    A drop-in for ``ROIPooler`` (Fig. 3d): ``(FPN + semantic) + global context``.
    """

    def __init__(
        self,
        pooler: ROIPooler,
        in_features: List[str],
        *,
        semantic_stride: int,
        semantic_size: int,
        sampling_ratio: int = 0,
    ):
        """
        Args:
            pooler: pools the levels of the pyramid.
            in_features: the names of the maps that :meth:`forward` gets, in order: the levels,
                then SEMANTIC and GLOBAL_CONTEXT as far as they are used.
            semantic_stride: of the semantic embedding (8).
            semantic_size: the side to which the embedding is pooled (14) before it is averaged
                down to the size of ``pooler`` where that is smaller, as in the authors' code.
            sampling_ratio: of RoIAlign in the semantic embedding.
        """
        super().__init__()
        self.pooler = pooler
        self.in_features = in_features
        self.output_size = pooler.output_size
        if SEMANTIC in in_features:
            self.semantic_pooler = ROIPooler(
                output_size=semantic_size,
                scales=(1.0 / semantic_stride,),
                sampling_ratio=sampling_ratio,
                pooler_type="ROIAlignV2",
            )

    def forward(self, features: List[Tensor], boxes: List[Boxes]) -> Tensor:
        """
        Args:
            features: the maps named by ``in_features``: (N, C, H, W) each, and (N, C, 1, 1) for
                the context vector.
            boxes: per image, in pixels of the padded batch.

        Returns:
            (R, C, S, S)
        """
        maps = dict(zip(self.in_features, features))
        semantic, context = maps.pop(SEMANTIC, None), maps.pop(GLOBAL_CONTEXT, None)
        pool = self._pool_on_cpu if self._can_pool_on_cpu(features[0]) else self._pool
        x = pool(list(maps.values()), semantic, boxes)
        if context is not None:
            counts = torch.tensor([len(b) for b in boxes], device=context.device)
            x += context.repeat_interleave(counts, dim=0)
        return x

    def _pool(self, levels: List[Tensor], semantic: Optional[Tensor], boxes: List[Boxes]) -> Tensor:
        x = self.pooler(levels, boxes)
        if semantic is not None:
            pooled = self.semantic_pooler([semantic], boxes)
            x = x + F.adaptive_avg_pool2d(pooled, self.output_size)
        return x

    def _can_pool_on_cpu(self, x: Tensor) -> bool:
        """Whether :meth:`_pool_on_cpu` gives what :meth:`_pool` does, and can run here."""
        aligns = list(self.pooler.level_poolers)
        if hasattr(self, "semantic_pooler"):
            aligns += self.semantic_pooler.level_poolers
        size = self.output_size[0]
        return (
            x.device.type == "cpu"
            and not (torch.jit.is_tracing() or torch.compiler.is_compiling())
            and all(isinstance(a, ROIAlign) and a.aligned for a in aligns)
            and len({a.sampling_ratio for a in aligns}) == 1
            and all(a.output_size[0] % size == 0 for a in aligns)
        )

    def _pool_on_cpu(
        self, levels: List[Tensor], semantic: Optional[Tensor], boxes: List[Boxes]
    ) -> Tensor:
        p = self.pooler
        aligns = list(p.level_poolers)
        lowest, highest = p.min_level, p.max_level
        level = assign_boxes_to_levels(
            boxes, lowest, highest, p.canonical_box_size, p.canonical_level
        )
        sources = [Source(level, 1)]
        if semantic is not None:
            aligns += self.semantic_pooler.level_poolers
            parts = aligns[-1].output_size[0] // self.output_size[0]
            sources.append(Source(torch.full_like(level, len(levels)), parts))
            levels = [*levels, semantic]
        return sum_of_roi_aligns(
            levels,
            [a.spatial_scale for a in aligns],
            convert_boxes_to_pooler_format(boxes),
            sources,
            self.output_size[0],
            aligns[0].sampling_ratio,
        )
