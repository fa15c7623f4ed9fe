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

from .roi_align import sum_of_roi_aligns

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
        pooler_type: str = "ROIAlignV2",
    ):
        """
        Args:
            pooler: pools the levels of the pyramid.
            in_features: the names of the maps that :meth:`forward` gets, in order: the levels,
                then SEMANTIC and GLOBAL_CONTEXT as far as they are used.
            semantic_stride: of the semantic embedding (8).
            semantic_size: the side to which the embedding is pooled (14) before it is averaged
                down to the size of ``pooler`` where that is smaller, as in the authors' code.
            sampling_ratio, pooler_type: of RoIAlign in the semantic embedding, as for ROIPooler.
        """
        super().__init__()
        self.pooler = pooler
        self.in_features = list(in_features)
        self.output_size = pooler.output_size
        if SEMANTIC in in_features:
            self.semantic_pooler = ROIPooler(
                output_size=semantic_size,
                scales=(1.0 / semantic_stride,),
                sampling_ratio=sampling_ratio,
                pooler_type=pooler_type,
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
        levels = list(maps.values())
        recording = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if features[0].device.type == "cpu" and not recording and self.can_sum():
            rois = convert_boxes_to_pooler_format(boxes)
            x = self.sum(levels, semantic, rois, self.level_of(boxes))
        else:
            x = self.pooler(levels, boxes)
            if semantic is not None:
                pooled = self.semantic_pooler([semantic], boxes)
                x = x + F.adaptive_avg_pool2d(pooled, self.output_size)
        if context is not None:
            counts = torch.tensor([len(b) for b in boxes], device=context.device)
            x += context.repeat_interleave(counts, dim=0)
        return x

    def level_of(self, boxes: List[Boxes]) -> Tensor:
        """(R,), the index of the level of the pyramid for each box."""
        p = self.pooler
        return assign_boxes_to_levels(
            boxes, p.min_level, p.max_level, p.canonical_box_size, p.canonical_level
        )

    def can_sum(self) -> bool:
        """Whether :meth:`sum` can do what the settings ask for."""
        aligns = self._aligns()
        return (
            all(isinstance(a, ROIAlign) and a.aligned for a in aligns)
            and len({a.sampling_ratio for a in aligns}) == 1
            and all(a.output_size[0] % self.output_size[0] == 0 for a in aligns)
        )

    def sum(
        self, levels: List[Tensor], semantic: Optional[Tensor], rois: Tensor, level: Tensor
    ) -> Tensor:
        """Pyramid and semantic embedding, pooled as weighted sums: the fast way on a CPU.

        Args:
            levels: maps of the pyramid, (N, C, H, W) each.
            semantic: the embedding (N, C, H, W), or None without the branch.
            rois: (R, 5), the index of the image and the box.
            level: (R,), the index of the level that each box is pooled from.

        Returns:
            (R, C, S, S)
        """
        aligns, size = self._aligns(), self.output_size[0]
        maps, indices, parts = list(levels), [level], [1]
        if semantic is not None:
            maps.append(semantic)
            indices.append(torch.full_like(level, len(levels)))
            parts.append(aligns[-1].output_size[0] // size)
        return sum_of_roi_aligns(
            maps,
            [a.spatial_scale for a in aligns],
            rois,
            torch.stack(indices, dim=1),
            parts,
            size,
            aligns[0].sampling_ratio,
        )

    def _aligns(self) -> List[nn.Module]:
        """The RoIAlign layers, of the levels and of the semantic embedding."""
        aligns = list(self.pooler.level_poolers)
        if SEMANTIC in self.in_features:
            aligns += self.semantic_pooler.level_poolers
        return aligns
