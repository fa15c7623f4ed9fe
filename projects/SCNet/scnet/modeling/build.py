"""From the config to the context pooler and the mask branch of the RoI heads."""

from typing import Dict

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import build_mask_head

from .context_pooler import GLOBAL_CONTEXT, SEMANTIC, ContextPooler
from .feature_relay import FeatureRelay
from .htc import InterleavedMaskBranch
from .mask_branch import MaskBranch

# MODEL.SCNET.MASK_BRANCH -> the MODEL.ROI_MASK_HEAD.NAME that goes with it in the paper.
MASK_HEADS = {
    "sample_consistency": "SCNetMaskHead",
    "naive_sample_consistency": "MaskRCNNConvUpsampleHead",
    "per_stage": "MaskRCNNConvUpsampleHead",
    "interleaved": "HTCMaskHead",
}


def build_context_pooler(cfg: CfgNode, pooler: ROIPooler, head: CfgNode) -> ContextPooler:
    """Let ``pooler`` add the context that the config switches on.

    Args:
        pooler: for the levels of the pyramid.
        head: the section that describes ``pooler``, MODEL.ROI_BOX_HEAD or MODEL.ROI_MASK_HEAD.
    """
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
        sampling_ratio=head.POOLER_SAMPLING_RATIO,
        pooler_type=head.POOLER_TYPE,
    )


def build_mask_branch(
    cfg: CfgNode, input_shape: Dict[str, ShapeSpec], box_channels: int
) -> MaskBranch:
    """The mask branch of ``MODEL.SCNET.MASK_BRANCH``, with heads of ``MODEL.ROI_MASK_HEAD.NAME``.

    Args:
        input_shape: the levels of the pyramid, by name.
        box_channels: D, the length of the box head's vector.

    Raises:
        ValueError: see :func:`check_mask_head`.
    """
    check_mask_head(cfg)
    levels = [input_shape[name] for name in cfg.MODEL.ROI_HEADS.IN_FEATURES]
    size = cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=size,
        scales=tuple(1.0 / level.stride for level in levels),
        sampling_ratio=cfg.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO,
        pooler_type=cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE,
    )
    context_pooler = build_context_pooler(cfg, pooler, cfg.MODEL.ROI_MASK_HEAD)
    shape = ShapeSpec(channels=levels[0].channels, height=size, width=size)
    weights = list(cfg.MODEL.SCNET.STAGE_LOSS_WEIGHTS)
    stages = list(range(len(weights)))
    kind = cfg.MODEL.SCNET.MASK_BRANCH
    if kind == "sample_consistency":
        stages, weights = stages[-1:], [sum(weights)]  # Eq. 4
    elif kind == "naive_sample_consistency":
        stages = stages[-1:] * len(stages)
    heads = [build_mask_head(cfg, shape) for _ in stages]
    relays = None
    if cfg.MODEL.SCNET.FEATURE_RELAY:
        relays = [FeatureRelay(box_channels, shape.channels, size) for _ in heads]
    branch = InterleavedMaskBranch if kind == "interleaved" else MaskBranch
    return branch(
        pooler=context_pooler,
        heads=heads,
        stages=stages,
        loss_weights=weights,
        num_classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        relays=relays,
    )


def check_mask_head(cfg: CfgNode) -> None:
    """Refuse a mask branch with the mask head of another.

    Each branch has its head in the paper, see ``MASK_HEADS``. With the head of another it would
    be a network that nobody has described. A head under any other name goes with all branches.

    Raises:
        ValueError: see above, or there is no such mask branch.
    """
    kind, name = cfg.MODEL.SCNET.MASK_BRANCH, cfg.MODEL.ROI_MASK_HEAD.NAME
    if kind not in MASK_HEADS:
        raise ValueError(
            f"MODEL.SCNET.MASK_BRANCH is '{kind}'. There are {', '.join(map(repr, MASK_HEADS))}."
        )
    if name in MASK_HEADS.values() and name != MASK_HEADS[kind]:
        raise ValueError(
            f"MODEL.ROI_MASK_HEAD.NAME is '{name}', but '{MASK_HEADS[kind]}' goes with "
            f"MODEL.SCNET.MASK_BRANCH '{kind}'. Change one of the two keys, or register a head "
            "under a name of your own."
        )
