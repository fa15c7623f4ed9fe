"""The box head of every stage of the cascade."""

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from detectron2.modeling.roi_heads.box_head import ROI_BOX_HEAD_REGISTRY
from torch import nn


@ROI_BOX_HEAD_REGISTRY.register()
class SCNetBoxHead(FastRCNNConvFCHead):
    """Detectron2's box head with the authors' initialisation of the fully connected layers.

    They use Xavier's, which looks at the numbers of inputs and outputs of a layer; Detectron2
    looks at the inputs alone.
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, **kwargs):
        """
        Args:
            input_shape: channels, height and width of the RoI features.
            kwargs: see :class:`detectron2.modeling.roi_heads.FastRCNNConvFCHead`.
        """
        super().__init__(input_shape, **kwargs)
        for fc in self.fcs:
            nn.init.xavier_uniform_(fc.weight)
