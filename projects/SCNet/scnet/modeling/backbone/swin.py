"""Swin Transformer (arXiv 2103.14030) with FPN: MODEL.SWIN."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, SwinTransformer

from .layer_order import freeze_stages
from .pyramid import build_fpn
from .require_timm import require_timm


@BACKBONE_REGISTRY.register()
def build_swin_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build Detectron2's Swin Transformer, whose maps are "p0" to "p3", and FPN upon it.

    Raises:
        ValueError: timm is missing; or see :func:`build_fpn` and :func:`freeze_stages`.
    """
    require_timm("'build_swin_fpn_backbone' (MODEL.BACKBONE.NAME)")
    swin = cfg.MODEL.SWIN
    bottom_up = SwinTransformer(
        in_chans=input_shape.channels,
        embed_dim=swin.EMBED_DIM,
        depths=swin.DEPTHS,
        num_heads=swin.NUM_HEADS,
        window_size=swin.WINDOW_SIZE,
        drop_path_rate=swin.DROP_PATH,
    )
    freeze_stages(bottom_up, cfg.MODEL.BACKBONE.FREEZE_AT)
    return build_fpn(cfg, bottom_up)
