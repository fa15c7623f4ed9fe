"""The RoI heads of SCNet: a box cascade and a mask branch, both fed by context poolers."""

from typing import Dict, List, Optional, Tuple

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from .build import build_context_pooler, build_mask_branch
from .cascade import BoxCascade, Stage
from .context_pooler import ContextPooler, pooling_maps
from .mask_branch import MaskBranch
from .required_keys import require_keys


@ROI_HEADS_REGISTRY.register()
class SCNetROIHeads(BoxCascade):
    """Detectron2's ``CascadeROIHeads`` with the mask branch and the context of SCNet (Fig. 2c).

    The feature dict has the levels of the pyramid and, as far as they are switched on,
    "semantic" and "global_context".
    """

    @configurable
    def __init__(
        self, *, box_pooler: ContextPooler, mask_branch: Optional[MaskBranch] = None, **kwargs
    ):
        """
        Args:
            box_pooler: RoI features for the box heads; it knows the names of its feature maps.
            mask_branch: None predicts boxes only.
            kwargs: see :class:`BoxCascade`.
        """
        super().__init__(box_in_features=box_pooler.in_features, box_pooler=box_pooler, **kwargs)
        self.mask_on = mask_branch is not None
        self.mask_branch = mask_branch

    @classmethod
    def from_config(cls, cfg, input_shape: Dict[str, ShapeSpec]):
        require_keys(cfg, {"MODEL.KEYPOINT_ON": (False, "SCNet predicts no keypoints")})
        ret = super().from_config(cfg, input_shape)
        if cfg.MODEL.MASK_ON:
            box_channels = ret["box_heads"][-1].output_shape.channels
            ret["mask_branch"] = build_mask_branch(cfg, input_shape, box_channels)
        return ret

    @classmethod
    def _init_box_head(cls, cfg, input_shape):
        ret = super()._init_box_head(cfg, input_shape)
        ret["box_pooler"] = build_context_pooler(cfg, ret["box_pooler"], cfg.MODEL.ROI_BOX_HEAD)
        del ret["box_in_features"]  # the pooler has them
        return ret

    @classmethod
    def _init_mask_head(cls, cfg, input_shape):
        return {}  # the mask branch takes its place

    def forward(
        self,
        images: ImageList,
        features: Dict[str, Tensor],
        proposals: List[Instances],
        targets: Optional[List[Instances]] = None,
    ) -> Tuple[List[Instances], Dict[str, Tensor]]:
        """See :meth:`detectron2.modeling.ROIHeads.forward`; the losses are :class:`Losses`."""
        features = pooling_maps(features)
        stages = self.run_cascade(features, proposals, targets)
        if not self.training:
            detections = self.box_inference(stages)
            return self.forward_with_given_boxes(features, detections), {}
        losses = self.box_losses(stages)
        if self.mask_branch is not None:
            assert targets is not None
            samples = self.mask_samples(stages, targets)
            losses.include(self.mask_branch.losses(features, samples))
        return stages[-1].proposals, losses

    def mask_samples(self, stages: List[Stage], targets: List[Instances]) -> List[Stage]:
        """The stages with the proposals that the mask branch trains on.

        Without interleaved execution (Eq. 1) a stage keeps the proposals that it took in; with
        it (Eq. 2) it gets a sample of the boxes that it refined.
        """
        if self.mask_branch is None or not self.mask_branch.interleaved:
            return stages
        samples = []
        for k, stage in enumerate(stages):
            image_sizes = [p.image_size for p in stage.proposals]
            proposals = self._create_proposals_from_boxes(stage.refined, image_sizes)
            with get_event_storage().name_scope(f"mask_stage{k}"):
                samples.append(stage._replace(proposals=self.sample(proposals, targets, k)))
        return samples

    def _forward_mask(
        self, features: Dict[str, Tensor], instances: List[Instances]
    ) -> List[Instances]:
        """Masks of given boxes, at inference; what ``forward_with_given_boxes`` calls."""
        if self.mask_branch is None or not self.mask_on:
            return instances
        box_features = {}
        if self.mask_branch.relays:
            # The relay wants the box features of exactly the boxes that get a mask, so the box
            # heads run once more on what non-maximum suppression has left.
            maps = [features[name] for name in self.box_in_features]
            pooled = self.box_pooler(maps, [i.pred_boxes for i in instances])
            box_features = {t: self.box_head[t](pooled) for t in set(self.mask_branch.stages)}
        return self.mask_branch.inference(features, instances, box_features)
