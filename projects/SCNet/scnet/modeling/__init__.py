"""The network, one file per idea. Importing it registers the models with Detectron2."""

from .meta_arch import SCNet
from .roi_heads import SCNetROIHeads
from .rpn import SCNetRPN
from .test_time_augmentation import SCNetWithTTA
