"""The deep mask head of effective sample consistency (Sec. 4.1, Fig. 3b)."""

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.mask_head import (
    ROI_MASK_HEAD_REGISTRY,
    MaskRCNNConvUpsampleHead,
)
from torch import Tensor

from .layers import residual_blocks


@ROI_MASK_HEAD_REGISTRY.register()
class SCNetMaskHead(MaskRCNNConvUpsampleHead):
    """Residual blocks of two convolutions, then Detectron2's deconvolution and predictor.

    The convolutions of all stages' mask heads, stacked: 4 per stage, 12 in all.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_conv: int,
        conv_dim: int,
        num_classes: int,
        conv_norm: str = "",
        **kwargs,
    ):
        """
        Args:
            input_shape: channels and side S of the RoI features.
            num_conv: convolutions before the deconvolution, an even number.
            conv_dim: their channels, and those of the deconvolution.
            num_classes: masks per RoI.
            conv_norm: normalisation in the blocks, for example "GN"; "" for none.
            kwargs: see :class:`detectron2.modeling.roi_heads.BaseMaskRCNNHead`.

        Raises:
            ValueError: ``num_conv`` is odd or zero.
        """
        if num_conv < 2 or num_conv % 2:
            raise ValueError(
                "The mask head has a skip connection over every two convolutions, so their number "
                f"must be even and not zero. num_conv is {num_conv} (stages times "
                "MODEL.ROI_MASK_HEAD.NUM_CONV)."
            )
        deconv_input = ShapeSpec(channels=conv_dim)
        super().__init__(deconv_input, num_classes=num_classes, conv_dims=[conv_dim], **kwargs)
        self.blocks = residual_blocks(input_shape.channels, conv_dim, num_conv // 2, conv_norm)

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec):
        ret = super().from_config(cfg, input_shape)
        del ret["conv_dims"]
        num_stages = len(cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS)
        ret["num_conv"] = cfg.MODEL.ROI_MASK_HEAD.NUM_CONV * num_stages
        ret["conv_dim"] = cfg.MODEL.ROI_MASK_HEAD.CONV_DIM
        return ret

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, S, S) -> logits (R, K, 2 S, 2 S), for R regions and K classes."""
        return self.predictor(self.deconv_relu(self.deconv(self.blocks(x))))
