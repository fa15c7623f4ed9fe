"""The mask branch of Hybrid Task Cascade (Sec. 3.2, Eq. 2, Fig. 2b).

Shapes: R regions over all images, (C, S, S) the RoI features of the mask heads, D the channels of
their convolutions, K foreground classes, M the side of the predicted masks.
"""

from typing import List, Mapping, Optional

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.mask_head import (
    ROI_MASK_HEAD_REGISTRY,
    MaskRCNNConvUpsampleHead,
)
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import conv
from .mask_branch import MaskBranch


@ROI_MASK_HEAD_REGISTRY.register()
class HTCMaskHead(MaskRCNNConvUpsampleHead):
    """Detectron2's mask head, which takes in the features of the head before it.

    They pass a 1x1 convolution and are added to the RoI features: the fusion F of Eq. 2. A head
    of one's own overrides :meth:`features` or :meth:`predict`.
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, conv_norm: str = "", **kwargs):
        """
        Args:
            input_shape: channels C and side S of the RoI features.
            conv_norm: normalisation of the convolutions, for example "GN"; "" for none.
            kwargs: see :class:`MaskRCNNConvUpsampleHead`.
        """
        super().__init__(input_shape, conv_norm=conv_norm, **kwargs)
        channels = self.deconv.in_channels  # of the features of all heads: they are alike
        self.fusion: Optional[nn.Module] = conv(
            channels, input_shape.channels, 1, conv_norm, F.relu
        )
        c2_msra_fill(self.fusion)

    def features(self, x: Tensor, before: Optional[Tensor]) -> Tensor:
        """The features of this head, before its predictor.

        Args:
            x: (R, C, S, S), RoI features.
            before: (R, D, S, S), the features of the head before; None for the first head.

        Returns:
            (R, D, S, S), the features for the predictor and for the next head.
        """
        if before is not None and self.fusion is not None:
            x = x + self.fusion(before)
        for layer in self.conv_norm_relus:
            x = layer(x)
        return x

    def predict(self, features: Tensor) -> Tensor:
        """(R, D, S, S) -> logits (R, K, M, M)."""
        return self.predictor(self.deconv_relu(self.deconv(features)))

    def layers(self, x: Tensor) -> Tensor:
        """(R, C, S, S) -> logits (R, K, M, M) of this head alone."""
        return self.predict(self.features(x, None))


class InterleavedMaskBranch(MaskBranch):
    """One head per stage, chained by mask information flow.

    Head t trains on the boxes that stage t has refined, and sees the features that heads 0 to
    t - 1 made of the same RoIs.
    """

    interleaved = True

    def __init__(self, **kwargs):
        """See :class:`MaskBranch`.

        Raises:
            ValueError: a head is no :class:`HTCMaskHead`; or there are relays. The box head of a
                stage has not seen the boxes that the stage refines, so it has no features of them
                to hand on.
        """
        super().__init__(**kwargs)
        for head in self.heads:
            if not isinstance(head, HTCMaskHead):
                raise ValueError(
                    f"The mask head is {type(head).__name__} (MODEL.ROI_MASK_HEAD.NAME), which "
                    "cannot take in the features of the head before it. With MODEL.SCNET."
                    "MASK_BRANCH 'interleaved' it must be HTCMaskHead or a subclass of it."
                )
        if self.relays:
            raise ValueError(
                "Feature relay needs a mask branch that works on the boxes which the box head has "
                "seen. Set MODEL.SCNET.FEATURE_RELAY False, or MODEL.SCNET.MASK_BRANCH to another "
                "value than 'interleaved'."
            )
        self.heads[0].fusion = None  # there is no head before it

    def forward(self, x: Tensor, box_features: Mapping[int, Optional[Tensor]]) -> List[Tensor]:
        """See :meth:`MaskBranch.forward`. Each head's features are computed once."""
        features, found = None, []
        for h, head in enumerate(self.heads[: max(box_features) + 1]):
            features = head.features(x, features)
            if h in box_features:
                found.append(head.predict(features))
        return found
