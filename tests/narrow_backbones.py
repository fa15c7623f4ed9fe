"""Small versions of the backbones beside ResNet, for the tiny model of the tests."""

import pytest
from detectron2.config import CfgNode


def of_timm(name, **keys):
    """The keys of a backbone of timm, without weights."""
    return {
        "BACKBONE.NAME": "build_timm_fpn_backbone",
        "TIMM.NAME": name,
        "TIMM.PRETRAINED": False,
        **{f"TIMM.{key}": value for key, value in keys.items()},
    }


SWIN = {
    "BACKBONE.NAME": "build_swin_fpn_backbone",
    "FPN.IN_FEATURES": ["p0", "p1", "p2", "p3"],
    "SWIN.EMBED_DIM": 12,
    "SWIN.DEPTHS": (2, 2, 2, 2),
    "SWIN.NUM_HEADS": (1, 2, 4, 8),
}
VIT = {
    "BACKBONE.NAME": "build_vit_backbone",
    "FPN.IN_FEATURES": ["last_feat"],
    "FPN.NORM": "LN",
    "VIT.EMBED_DIM": 32,
    "VIT.DEPTH": 3,
    "VIT.NUM_HEADS": 2,
    "VIT.IMG_SIZE": 128,
    "VIT.WINDOW_SIZE": 3,
    "VIT.GLOBAL_BLOCKS": (1,),
}
MVIT = {
    "BACKBONE.NAME": "build_mvit_fpn_backbone",
    "FPN.IN_FEATURES": ["scale2", "scale3", "scale4", "scale5"],
    "MVIT.EMBED_DIM": 16,
    "MVIT.DEPTH": 5,
    "MVIT.LAST_BLOCKS": (0, 1, 3, 4),
}
REGNET = {
    "BACKBONE.NAME": "build_regnet_fpn_backbone",
    "FPN.IN_FEATURES": ["s1", "s2", "s3", "s4"],
    "REGNET.DEPTH": 13,
    "REGNET.W_0": 24,
    "REGNET.W_A": 36.44,
    "REGNET.W_M": 2.49,
    "REGNET.GROUP_WIDTH": 8,
}
BACKBONES = {
    "swin": SWIN,
    "vit": VIT,
    "mvit": MVIT,
    "regnet": REGNET,
    "convnext": of_timm("test_convnext"),
    "efficientnet": of_timm("test_efficientnet"),
    "resnet": of_timm("test_resnet"),
    "mobilenetv3": of_timm("mobilenetv3_small_050"),
}
CONVNEXT, RESNET = BACKBONES["convnext"], BACKBONES["resnet"]
all_backbones = pytest.mark.parametrize("keys", BACKBONES.values(), ids=BACKBONES)


def bottom_up_of(model):
    """The backbone without its pyramid."""
    return getattr(model.backbone, "net", None) or model.backbone.bottom_up


# What the quick start sets for its ResNet, as Detectron2 has it; and the norm of its pyramid.
NO_RESNET = {
    "RESNETS.STEM_OUT_CHANNELS": 64,
    "RESNETS.RES2_OUT_CHANNELS": 256,
    "RESNETS.WIDTH_PER_GROUP": 64,
    "FPN.NORM": "",
    "SCNET.FREEZE_BN_STATISTICS": True,
}


def backbone_opts(keys, **more):
    """Keys and values in turn that give the quick start another backbone than its ResNet.

    Args:
        keys: of ``MODEL``, such as ``SWIN``.
        more: of ``MODEL``, with "__" for a dot.
    """
    more = {key.replace("__", "."): value for key, value in more.items()}
    pairs = {**NO_RESNET, **keys, **more}
    opts = [x for key, value in pairs.items() for x in (f"MODEL.{key}", value)]
    if pairs.get("BACKBONE.SQUARE_PAD"):
        for key in ("INPUT.MAX_SIZE_TRAIN", "INPUT.MAX_SIZE_TEST"):
            opts += [key, pairs["BACKBONE.SQUARE_PAD"]]
    return opts


def set_backbone(cfg: CfgNode, keys, **more) -> CfgNode:
    """Give the tiny model another backbone; see :func:`backbone_opts`."""
    cfg.merge_from_list(backbone_opts(keys, **more))
    return cfg
