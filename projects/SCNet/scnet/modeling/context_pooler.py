"""The pooler that adds to every RoI what the whole image knows.

The outputs of the semantic head and of the global context head are two more entries of the
feature dict. Box stages and mask branch pool with the same module, so neither needs to know
which of the two is there.

Shapes: N images, R regions over all images, C channels, S the side of the pooled features.
"""

from typing import Dict, List, Optional, Tuple

import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
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
        levels, rois = list(maps.values()), regions_of_images(boxes)
        # The graph of torch.onnx and torch.compile is to have RoIAlign as one operator.
        recording = torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
        device = rois.device.type
        if device == "cpu" and not recording and self.can_pool_as_weighted_sums():
            x = self.pool_as_weighted_sums(levels, semantic, boxes, rois)
        else:
            if recording or torch.jit.is_tracing():
                x = self.pooler(levels, boxes)
            else:
                x = self.pool_level_by_level(levels, boxes, rois)
            if semantic is not None:
                [align] = self.semantic_pooler.level_poolers
                x = x + average_down(align(semantic, rois), self.output_size)
            if torch.is_autocast_enabled(device):  # from the type of pooling_maps
                x = x.to(torch.get_autocast_dtype(device))
        if context is not None:
            x += context.index_select(0, rois[:, 0].long())
        return x

    def pool_level_by_level(self, levels: List[Tensor], boxes: List[Boxes], rois: Tensor) -> Tensor:
        """Pool the pyramid as Detectron2's ``ROIPooler`` does.

        That makes the host wait for the GPU twice, and once more per level, for the number of
        regions there. Here it gets all these numbers at once.

        Args:
            levels: maps of the pyramid, (N, C, H, W) each.
            boxes: see :meth:`forward`.
            rois: the same, see :func:`regions_of_images`.

        Returns:
            (R, C, S, S)
        """
        level, aligns = self._level_of(boxes), self.pooler.level_poolers
        numbers = torch.arange(len(aligns), device=level.device)
        counts = (level == numbers[:, None]).sum(dim=1).cpu().tolist()
        x = levels[0].new_zeros(len(rois), levels[0].shape[1], *self.output_size)
        indices = level.argsort(stable=True).split(counts)
        for align, level_map, index in zip(aligns, levels, indices):
            x.index_put_((index,), align(level_map, rois[index]))
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
        self, levels: List[Tensor], semantic: Optional[Tensor], boxes: List[Boxes], rois: Tensor
    ) -> Tensor:
        """Pool the pyramid and the semantic embedding in one sum, which is fast on a CPU.

        Args:
            levels: maps of the pyramid, (N, C, H, W) each.
            semantic: the embedding (N, C, H, W), or None without the branch.
            boxes: see :meth:`forward`.
            rois: the same, see :func:`regions_of_images`.

        Returns:
            (R, C, S, S)
        """
        aligns, size, level = self._aligns(), self.output_size[0], self._level_of(boxes)
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

    def _level_of(self, boxes: List[Boxes]) -> Tensor:
        """The index (R,) of the level that each region is pooled from."""
        p = self.pooler
        return assign_boxes_to_levels(
            boxes, p.min_level, p.max_level, p.canonical_box_size, p.canonical_level
        )

    def _aligns(self) -> List[ROIAlign]:
        """The RoIAlign layers, of the levels and of the semantic embedding."""
        aligns = list(self.pooler.level_poolers)
        if SEMANTIC in self.in_features:
            aligns += self.semantic_pooler.level_poolers
        return aligns


def regions_of_images(boxes: List[Boxes]) -> Tensor:
    """The regions (R, 5) as RoIAlign takes them: the index of the image, and the box.

    Detectron2's ``convert_boxes_to_pooler_format`` gives the same, and makes the host wait for the
    GPU twice.

    Args:
        boxes: per image.
    """
    return torch.cat([F.pad(b.tensor, (1, 0), value=float(k)) for k, b in enumerate(boxes)])


def average_down(x: Tensor, size: Tuple[int, int]) -> Tensor:
    """Do what ``adaptive_avg_pool2d`` does, and keep nothing for the backward pass.

    That keeps its input, which at 14 x 14 is four times what it gives at 7 x 7. Only where the
    parts are not all of one size there is no other way.

    Args:
        x: (R, C, H, W).
        size: height and width of the result.
    """
    height, width = x.shape[-2:]
    if height % size[0] or width % size[1]:
        return F.adaptive_avg_pool2d(x, size)
    x = x.unflatten(3, (size[1], width // size[1])).unflatten(2, (size[0], height // size[0]))
    return x.mean(dim=(3, 5))


def pooling_maps(features: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The features in the type in which they are pooled, for several poolings.

    On a GPU torchvision's RoIAlign computes in float32 under autocast, and would cast all maps at
    every pooling; coordinates of 1,000 pixels are too much for lower precision. On a CPU the maps
    are pooled as they are.

    Args:
        features: maps by name.
    """
    return {k: x if x.device.type == "cpu" else x.float() for k, x in features.items()}
