"""RegNet (arXiv 2003.13678) with FPN: MODEL.REGNET."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN
from detectron2.modeling.backbone import RegNet
from detectron2.modeling.backbone.regnet import ResBottleneckBlock, SimpleStem

from .pyramid import build_fpn


@BACKBONE_REGISTRY.register()
def build_regnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build Detectron2's RegNet, whose maps are "s1" to "s4", and FPN upon it.

    Raises:
        ValueError: the numbers do not give four stages; or see :func:`build_fpn`.
    """
    regnet = cfg.MODEL.REGNET
    bottom_up = RegNet(
        stem_class=lambda _, *widths: SimpleStem(input_shape.channels, *widths),  # not always 3
        stem_width=32,
        block_class=ResBottleneckBlock,
        depth=regnet.DEPTH,
        w_a=regnet.W_A,
        w_0=regnet.W_0,
        w_m=regnet.W_M,
        group_width=regnet.GROUP_WIDTH,
        se_ratio=regnet.SE_RATIO,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        norm=regnet.NORM,
        out_features=["s1"],
    )
    stages = [name for _, name in bottom_up.stages_and_names]
    if len(stages) != 4:
        raise ValueError(
            f"MODEL.REGNET's W_A, W_0 and W_M give {len(stages)} stages, but a pyramid needs 4."
        )
    bottom_up._out_features = stages
    return build_fpn(cfg, bottom_up)
