"""The region proposal network with the authors' limits of box regression."""

from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN

from .box_regression import ClampedBox2BoxTransform


@PROPOSAL_GENERATOR_REGISTRY.register()
class SCNetRPN(RPN):
    """Detectron2's RPN with :class:`ClampedBox2BoxTransform`."""

    @classmethod
    def from_config(cls, cfg, input_shape):
        ret = super().from_config(cfg, input_shape)
        ret["box2box_transform"] = ClampedBox2BoxTransform(cfg.MODEL.RPN.BBOX_REG_WEIGHTS)
        return ret
