"""A panoptic segmentation from the instances and the semantic map of an image."""

from typing import Dict, List, Tuple

from detectron2.config import configurable
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.structures import Instances
from torch import Tensor


class PanopticCombination:
    """Detectron2's combination, for semantic classes of which the things are the first."""

    @configurable
    def __init__(
        self,
        *,
        num_things: int,
        overlap_threshold: float,
        stuff_area_threshold: float,
        instance_score_threshold: float,
    ):
        """
        Args:
            num_things: semantic classes below this are things.
            overlap_threshold: an instance is left out if more of it is covered already.
            stuff_area_threshold: pixels; smaller segments of stuff are left out.
            instance_score_threshold: instances with lower scores are left out.
        """
        self.num_things = num_things
        self.overlap_threshold = overlap_threshold
        self.stuff_area_threshold = stuff_area_threshold
        self.instance_score_threshold = instance_score_threshold

    @classmethod
    def from_config(cls, cfg):
        combine = cfg.MODEL.PANOPTIC_FPN.COMBINE
        return {
            "num_things": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "overlap_threshold": combine.OVERLAP_THRESH,
            "stuff_area_threshold": combine.STUFF_AREA_LIMIT,
            "instance_score_threshold": combine.INSTANCES_CONFIDENCE_THRESH,
        }

    def __call__(self, instances: Instances, sem_seg: Tensor) -> Tuple[Tensor, List[Dict]]:
        """The panoptic segmentation of one image.

        Args:
            instances: with ``scores``, ``pred_classes`` and ``pred_masks`` (R, height, width).
            sem_seg: (K, height, width), logits of the semantic classes.

        Returns:
            (height, width) int32, the id of the segment of each pixel, 0 for none; and the
            segments: "id", "isthing" and "category_id", for stuff the semantic class. So
            Detectron2's Visualizer finds its name in ``stuff_classes``.
        """
        # Detectron2 wants 0 for all things, and stuff after it.
        labels = (sem_seg.argmax(dim=0) - (self.num_things - 1)).clamp(min=0)
        panoptic_seg, segments = combine_semantic_and_instance_outputs(
            instances,
            labels,
            self.overlap_threshold,
            self.stuff_area_threshold,
            self.instance_score_threshold,
        )
        for segment in segments:
            if not segment["isthing"]:
                segment["category_id"] += self.num_things - 1
        return panoptic_seg, segments
