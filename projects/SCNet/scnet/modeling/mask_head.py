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
    def __init__(self, input_shape: ShapeSpec, *, num_conv: int, num_classes: int, **kwargs):
        """
        Args:
            input_shape: channels C and side S of the RoI features.
            num_conv: convolutions before the deconvolution, an even number.
            num_classes: masks per RoI.

        Raises:
            ValueError: ``num_conv`` is odd.
        """
        if num_conv % 2:
            raise ValueError(
                f"The mask head has a skip connection over every two convolutions; {num_conv} "
                "convolutions is odd. Change MODEL.ROI_MASK_HEAD.NUM_CONV."
            )
        channels = input_shape.channels
        super().__init__(input_shape, num_classes=num_classes, conv_dims=[channels], **kwargs)
        self.blocks = residual_blocks(channels, num_conv // 2)

    @classmethod
    def from_config(cls, cfg, input_shape: ShapeSpec):
        ret = super().from_config(cfg, input_shape)
        del ret["conv_dims"], ret["conv_norm"]  # the blocks keep the input's channels, no norm
        num_stages = len(cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS)
        ret["num_conv"] = cfg.MODEL.ROI_MASK_HEAD.NUM_CONV * num_stages
        return ret

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, S, S) -> logits (R, K, 2 S, 2 S), for R regions and K classes."""
        return self.predictor(self.deconv_relu(self.deconv(self.blocks(x))))
