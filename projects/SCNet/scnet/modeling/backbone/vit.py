"""A plain Vision Transformer with the simple feature pyramid (ViTDet, arXiv 2203.16527): MODEL.VIT.

Detectron2's own configs of ViTDet have the same values, see
``detectron2/model_zoo/configs/common/models/mask_rcnn_vitdet.py``.
"""

from functools import partial

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, SimpleFeaturePyramid, ViT
from torch import nn

from .layer_order import freeze_stages
from .pyramid import build_simple_pyramid
from .require_timm import require_timm


@BACKBONE_REGISTRY.register()
def build_vit_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SimpleFeaturePyramid:
    """Build Detectron2's ViT, whose map is "last_feat", and the pyramid upon it.

    Raises:
        ValueError: timm is missing; or see :func:`build_simple_pyramid` and
            :func:`freeze_stages`.
    """
    require_timm("'build_vit_backbone' (MODEL.BACKBONE.NAME)")
    vit = cfg.MODEL.VIT
    net = ViT(
        img_size=vit.IMG_SIZE,
        in_chans=input_shape.channels,
        embed_dim=vit.EMBED_DIM,
        depth=vit.DEPTH,
        num_heads=vit.NUM_HEADS,
        drop_path_rate=vit.DROP_PATH,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=vit.WINDOW_SIZE,
        window_block_indexes=sorted(set(range(vit.DEPTH)) - set(vit.GLOBAL_BLOCKS)),
    )
    freeze_stages(net, cfg.MODEL.BACKBONE.FREEZE_AT)
    return build_simple_pyramid(cfg, net)
