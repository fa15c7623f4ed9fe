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
        """Pool the features of regions, and add the context of their images.

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
        # The graph of torch.onnx and torch.compile is to have RoIAlign as one operator.
        recording = torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
        on_cpu = features[0].device.type == "cpu"
        if on_cpu and not recording and self.can_pool_as_weighted_sums():
            x = self.pool_as_weighted_sums(levels, semantic, boxes)
        else:
            x = self.pooler(levels, boxes)
            if semantic is not None:
                pooled = self.semantic_pooler([semantic], boxes)
                x = x + F.adaptive_avg_pool2d(pooled, self.output_size)
        if context is not None:
            image_of_box = convert_boxes_to_pooler_format(boxes)[:, 0].long()
            x += context.index_select(0, image_of_box)
        return x

    def can_pool_as_weighted_sums(self) -> bool:
        """Whether :meth:`pool_as_weighted_sums` can do what the settings ask for."""
        aligns = self._aligns()
        return (
            all(isinstance(a, ROIAlign) and a.aligned for a in aligns)
            and len({a.sampling_ratio for a in aligns}) == 1
            and all(a.output_size[0] % self.output_size[0] == 0 for a in aligns)
        )

    def pool_as_weighted_sums(
        self, levels: List[Tensor], semantic: Optional[Tensor], boxes: List[Boxes]
    ) -> Tensor:
        """Pool the pyramid and the semantic embedding in one sum, which is fast on a CPU.

        Args:
            levels: maps of the pyramid, (N, C, H, W) each.
            semantic: the embedding (N, C, H, W), or None without the branch.
            boxes: see :meth:`forward`.

        Returns:
            (R, C, S, S)
        """
        aligns, size, p = self._aligns(), self.output_size[0], self.pooler
        level = assign_boxes_to_levels(
            boxes, p.min_level, p.max_level, p.canonical_box_size, p.canonical_level
        )
        maps, indices, parts = list(levels), [level], [1]
        if semantic is not None:
            maps.append(semantic)
            indices.append(torch.full_like(level, len(levels)))
            parts.append(aligns[-1].output_size[0] // size)
        return sum_of_roi_aligns(
            maps,
            [a.spatial_scale for a in aligns],
            convert_boxes_to_pooler_format(boxes),
            torch.stack(indices, dim=1),
            parts,
            size,
            aligns[0].sampling_ratio,
        )

    def _aligns(self) -> List[ROIAlign]:
        """The RoIAlign layers, of the levels and of the semantic embedding."""
        aligns = list(self.pooler.level_poolers)
        if SEMANTIC in self.in_features:
            aligns += self.semantic_pooler.level_poolers
        return aligns
