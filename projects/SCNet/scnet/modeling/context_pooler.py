"""The pooler that adds to every RoI what the whole image knows.

The outputs of the semantic head and of the global context head are two more entries of the
feature dict. Box stages and mask branch pool with the same module, so neither needs to know
which of the two is there.

Shapes: N images, R regions over all images, C channels, S the side of the pooled features.
"""

from typing import List

import torch
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import Tensor, nn
from torch.nn import functional as F

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
        x = self.pooler(list(maps.values()), boxes)
        if semantic is not None:
            pooled = self.semantic_pooler([semantic], boxes)
            x = x + F.adaptive_avg_pool2d(pooled, self.output_size)
        if context is not None:
            counts = torch.tensor([len(b) for b in boxes], device=context.device)
            x = x + context.repeat_interleave(counts, dim=0)
        return x
