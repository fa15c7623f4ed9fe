"""The RoI heads of SCNet: a box cascade and a mask branch, both fed by context poolers."""

from typing import Dict, List, Optional, Tuple

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, build_mask_head
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from .cascade import BoxCascade, Stage
from .context_pooler import GLOBAL_CONTEXT, SEMANTIC, ContextPooler
from .feature_relay import FeatureRelay
from .htc import HTCMaskHead, InterleavedMaskBranch
from .mask_branch import MaskBranch
from .mask_head import SCNetMaskHead


@ROI_HEADS_REGISTRY.register()
class SCNetROIHeads(BoxCascade):
    """Detectron2's ``CascadeROIHeads`` with the mask branch and the context of SCNet (Fig. 2c).

    The feature dict has the levels of the pyramid and, as far as they are switched on,
    "semantic" and "global_context".
    """

    @configurable
    def __init__(self, *, mask_branch: Optional[MaskBranch] = None, **kwargs):
        """
        Args:
            mask_branch: None predicts boxes only.
            kwargs: see :class:`BoxCascade`.
        """
        super().__init__(**kwargs)
        self.mask_on = mask_branch is not None
        self.mask_branch = mask_branch

    @classmethod
    def from_config(cls, cfg, input_shape: Dict[str, ShapeSpec]):
        if cfg.MODEL.KEYPOINT_ON:
            raise ValueError("SCNet predicts no keypoints. Set MODEL.KEYPOINT_ON False.")
        ret = super().from_config(cfg, input_shape)
        if cfg.MODEL.MASK_ON:
            box_channels = ret["box_heads"][-1].output_shape.channels
            ret["mask_branch"] = build_mask_branch(cfg, input_shape, box_channels)
        return ret

    @classmethod
    def _init_box_head(cls, cfg, input_shape):
        ret = super()._init_box_head(cfg, input_shape)
        ret["box_pooler"] = build_context_pooler(cfg, ret["box_pooler"])
        ret["box_in_features"] = ret["box_pooler"].in_features
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
        """See :meth:`detectron2.modeling.ROIHeads.forward`."""
        stages = self.run_cascade(features, proposals, targets)
        if not self.training:
            detections = self.box_inference(stages)
            return self.forward_with_given_boxes(features, detections), {}
        losses = self.box_losses(stages)
        if self.mask_on:
            samples = self.mask_samples(stages, targets)
            losses.update(self.mask_branch.losses(features, samples))
        return stages[-1].proposals, losses

    def mask_samples(self, stages: List[Stage], targets: List[Instances]) -> List[Stage]:
        """The stages with the proposals that the mask branch trains on.

        They are those that the stages took in (Eq. 1), or with interleaved execution (Eq. 2) a
        sample of the boxes that they refined.
        """
        if not self.mask_branch.interleaved:
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
        if not self.mask_on:
            return instances
        box_features = None
        if self.mask_branch.relays:
            # The relay wants the box features of exactly the boxes that get a mask, so the box
            # heads run once more on what non-maximum suppression has left.
            maps = [features[name] for name in self.box_in_features]
            pooled = self.box_pooler(maps, [i.pred_boxes for i in instances])
            box_features = {t: self.box_head[t](pooled) for t in set(self.mask_branch.stages)}
        return self.mask_branch.inference(features, instances, box_features)


def build_context_pooler(cfg, pooler: ROIPooler) -> ContextPooler:
    """Let ``pooler`` add the context that the config switches on."""
    in_features = list(cfg.MODEL.ROI_HEADS.IN_FEATURES)
    if cfg.MODEL.SCNET.SEMANTIC.SOURCE != "none":
        in_features.append(SEMANTIC)
    if cfg.MODEL.SCNET.GLOBAL_CONTEXT.ENABLED:
        in_features.append(GLOBAL_CONTEXT)
    return ContextPooler(
        pooler,
        in_features,
        semantic_stride=cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE,
        semantic_size=cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION,
        sampling_ratio=cfg.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO,
    )


def build_mask_branch(cfg, input_shape: Dict[str, ShapeSpec], box_channels: int) -> MaskBranch:
    """The mask branch of the config, with a head or heads for its ``MODEL.SCNET.MASK_BRANCH``.

    Args:
        cfg: heads that are neither SCNet's nor HTC's are those of ``MODEL.ROI_MASK_HEAD.NAME``.
        input_shape: the levels of the pyramid, by name.
        box_channels: D, the length of the box head's vector.

    Raises:
        ValueError: there is no such mask branch.
    """
    levels = [input_shape[name] for name in cfg.MODEL.ROI_HEADS.IN_FEATURES]
    size = cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=size,
        scales=tuple(1.0 / level.stride for level in levels),
        sampling_ratio=cfg.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO,
        pooler_type=cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE,
    )
    pooler = build_context_pooler(cfg, pooler)
    shape = ShapeSpec(channels=levels[0].channels, height=size, width=size)
    weights = list(cfg.MODEL.SCNET.STAGE_LOSS_WEIGHTS)
    stages = list(range(len(weights)))
    branch = MaskBranch
    kind = cfg.MODEL.SCNET.MASK_BRANCH
    if kind == "sample_consistency":
        heads = [SCNetMaskHead(cfg, shape)]
        stages, weights = stages[-1:], [sum(weights)]  # Eq. 4
    elif kind == "naive_sample_consistency":
        heads = [build_mask_head(cfg, shape) for _ in stages]
        stages = stages[-1:] * len(stages)
    elif kind == "per_stage":
        heads = [build_mask_head(cfg, shape) for _ in stages]
    elif kind == "interleaved":
        heads = [HTCMaskHead(cfg, shape, takes_features=t > 0) for t in stages]
        branch = InterleavedMaskBranch
    else:
        raise ValueError(
            f"MODEL.SCNET.MASK_BRANCH is '{kind}'. There are 'sample_consistency', "
            "'naive_sample_consistency', 'per_stage' and 'interleaved'."
        )
    relays = None
    if cfg.MODEL.SCNET.FEATURE_RELAY:
        relays = [FeatureRelay(box_channels, shape.channels, size) for _ in heads]
    return branch(
        in_features=pooler.in_features,
        pooler=pooler,
        heads=heads,
        stages=stages,
        loss_weights=weights,
        num_classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        relays=relays,
        vis_period=cfg.VIS_PERIOD,
    )
