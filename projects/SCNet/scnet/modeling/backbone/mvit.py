"""MViTv2 (arXiv 2112.01526) with FPN: MODEL.MVIT."""

from functools import partial

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, MViT
from torch import nn

from .layer_order import freeze_stages
from .pyramid import build_fpn
from .require_timm import require_timm


@BACKBONE_REGISTRY.register()
def build_mvit_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build Detectron2's MViT, whose maps are "scale2" to "scale5", and FPN upon it.

    Raises:
        ValueError: timm is missing; or see :func:`build_fpn` and :func:`freeze_stages`.
    """
    require_timm("'build_mvit_fpn_backbone' (MODEL.BACKBONE.NAME)")
    mvit = cfg.MODEL.MVIT
    bottom_up = MViT(
        in_chans=input_shape.channels,
        embed_dim=mvit.EMBED_DIM,
        depth=mvit.DEPTH,
        num_heads=mvit.NUM_HEADS,
        last_block_indexes=mvit.LAST_BLOCKS,
        drop_path_rate=mvit.DROP_PATH,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    freeze_stages(bottom_up, cfg.MODEL.BACKBONE.FREEZE_AT)
    return build_fpn(cfg, bottom_up)
