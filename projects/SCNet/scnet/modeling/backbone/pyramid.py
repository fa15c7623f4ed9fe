"""The feature pyramids upon the backbones, as the config describes them."""

from detectron2.config import CfgNode
from detectron2.modeling import FPN, Backbone, SimpleFeaturePyramid
from detectron2.modeling.backbone.fpn import LastLevelMaxPool

from ..required_keys import require_keys


def build_fpn(cfg: CfgNode, bottom_up: Backbone) -> FPN:
    """Put Detectron2's FPN upon a backbone, as ``build_resnet_fpn_backbone`` does.

    Args:
        bottom_up: makes the maps that MODEL.FPN.IN_FEATURES names.

    Raises:
        ValueError: it does not make them, or they are others than those of stride 4, 8, 16, 32.
    """
    shapes, names = bottom_up.output_shape(), list(cfg.MODEL.FPN.IN_FEATURES)
    strides = [shapes[name].stride for name in names if name in shapes]
    if strides != [4, 8, 16, 32] or len(names) != 4:
        made = ", ".join(f"'{name}' (stride {shape.stride})" for name, shape in shapes.items())
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is {names}, but {type(bottom_up).__name__} (MODEL.BACKBONE."
            f"NAME {cfg.MODEL.BACKBONE.NAME}) makes {made}. Name those of the strides 4, 8, 16 and "
            "32, in this order."
        )
    return FPN(
        bottom_up=bottom_up,
        in_features=names,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
        square_pad=cfg.MODEL.BACKBONE.SQUARE_PAD,
    )


class SimplePyramid(SimpleFeaturePyramid):
    """Detectron2's pyramid of one map, for images of any size.

    Detectron2 gives its divisor under a name that is not read ("size_divisiblity" in
    ``padding_constraints``), and so pads images to a square only, never to a multiple of 32.
    """

    @property
    def size_divisibility(self) -> int:
        return self._size_divisibility


def build_simple_pyramid(cfg: CfgNode, net: Backbone) -> SimplePyramid:
    """Put the simple feature pyramid of ViTDet (arXiv 2203.16527, Sec. 3) upon a plain backbone.

    Args:
        net: makes one map, of stride 16.

    Raises:
        ValueError: MODEL.FPN has what this pyramid does not do.
    """
    (name,) = net.output_shape()
    one_map = f"{type(net).__name__} makes one map"
    require_keys(
        cfg,
        {
            "MODEL.FPN.IN_FEATURES": ([name], one_map),
            "MODEL.FPN.FUSE_TYPE": ("sum", f"{one_map}, so nothing is fused"),
        },
    )
    return SimplePyramid(
        net=net,
        in_feature=name,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=LastLevelMaxPool(),
        norm=cfg.MODEL.FPN.NORM,
        square_pad=cfg.MODEL.BACKBONE.SQUARE_PAD,
    )
