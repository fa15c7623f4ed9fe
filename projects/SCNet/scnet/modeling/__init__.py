"""The network, one file per idea. Importing it registers the models and heads with Detectron2."""

from . import backbone
from .box_head import SCNetBoxHead
from .htc import HTCMaskHead
from .mask_head import SCNetMaskHead
from .meta_arch import SCNet
from .roi_heads import SCNetROIHeads
from .rpn import SCNetRPN
from .semantic_head import SCNetSemanticHead
from .test_time_augmentation import SCNetWithTTA
