"""The global context branch (Sec. 4.2, Fig. 5): which classes does the image contain?

Shapes: N images, C channels, K foreground classes.
"""

from typing import Dict, List, Tuple

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import residual_blocks


class GlobalContextHead(nn.Module):
    """The coarsest level, two residual blocks, global average pooling, one linear classifier.

    The pooled vector, before the classifier, is the context that is added to the features of
    every RoI of the image.
    """

    @configurable
    def __init__(
        self,
        input_shape: Dict[str, ShapeSpec],
        *,
        in_feature: str,
        num_classes: int,
        num_blocks: int,
        loss_weight: float,
    ):
        """
        Args:
            input_shape: the levels of the pyramid, by name.
            in_feature: the level that is used (P6).
            num_classes: K.
            num_blocks: residual blocks before the pooling.
            loss_weight: lambda of Eq. 3.

        Raises:
            ValueError: there is no such level.
        """
        super().__init__()
        if in_feature not in input_shape:
            raise ValueError(
                f"in_feature (MODEL.SCNET.GLOBAL_CONTEXT.IN_FEATURE) is '{in_feature}'. The levels "
                f"are {', '.join(input_shape)}."
            )
        self.in_feature = in_feature
        self.num_classes = num_classes
        self.loss_weight = loss_weight
        channels = input_shape[in_feature].channels
        self.blocks = residual_blocks(channels, channels, num_blocks)
        self.classifier: nn.Module = nn.Linear(channels, num_classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    @classmethod
    def from_config(cls, cfg, input_shape: Dict[str, ShapeSpec]):
        return {
            "input_shape": input_shape,
            "in_feature": cfg.MODEL.SCNET.GLOBAL_CONTEXT.IN_FEATURE,
            "num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "num_blocks": cfg.MODEL.SCNET.GLOBAL_CONTEXT.NUM_BLOCKS,
            "loss_weight": cfg.MODEL.SCNET.GLOBAL_CONTEXT.LOSS_WEIGHT,
        }

    def forward(self, features: Dict[str, Tensor]) -> Tuple[Tensor, Tensor]:
        """The classes of the image, and the context for its RoIs.

        Args:
            features: the levels of the pyramid, by name.

        Returns:
            logits (N, K) of the classes, and the context vector (N, C, 1, 1).
        """
        context = F.adaptive_avg_pool2d(self.blocks(features[self.in_feature]), 1)
        return self.classifier(context.flatten(1)), context

    def losses(self, logits: Tensor, targets: List[Instances]) -> Dict[str, Tensor]:
        """Binary cross entropy over all images and classes (Sec. 4.3).

        Args:
            logits: (N, K).
            targets: per image, Instances with ``gt_classes``; every class that occurs is positive.

        Returns:
            ``loss_global_context``.
        """
        present = torch.zeros_like(logits)
        for row, instances in zip(present, targets):
            row[instances.gt_classes] = 1
        loss = F.binary_cross_entropy_with_logits(logits, present)
        return {"loss_global_context": self.loss_weight * loss}
