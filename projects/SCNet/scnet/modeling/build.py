"""From the config to the context pooler and the mask branch of the RoI heads."""

from typing import Dict

from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import build_mask_head

from .context_pooler import GLOBAL_CONTEXT, SEMANTIC, ContextPooler
from .feature_relay import FeatureRelay
from .htc import HTCMaskHead, InterleavedMaskBranch
from .mask_branch import MaskBranch
from .mask_head import SCNetMaskHead


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
