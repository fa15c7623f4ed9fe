"""Backbones by name (MODEL.BACKBONE.NAME): Detectron2's Swin, ViT, MViT and RegNet, and timm's."""

from .mvit import build_mvit_fpn_backbone
from .regnet import build_regnet_fpn_backbone
from .swin import build_swin_fpn_backbone
from .timm_models import build_timm_fpn_backbone
from .vit import build_vit_backbone
