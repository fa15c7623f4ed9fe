"""Keys of backbones that the chosen backbone does not read."""

from detectron2.config import CfgNode
from detectron2.config import get_cfg as get_detectron2_cfg

from ...config import add_scnet_config
from ..required_keys import require_keys

# The sections of MODEL that only one backbone reads -> its MODEL.BACKBONE.NAME.
SECTIONS = {
    "MVIT": "build_mvit_fpn_backbone",
    "REGNET": "build_regnet_fpn_backbone",
    "SWIN": "build_swin_fpn_backbone",
    "TIMM": "build_timm_fpn_backbone",
    "VIT": "build_vit_backbone",
}
RESNETS = ("build_resnet_backbone", "build_resnet_fpn_backbone")
# These are in the config that all others begin with.
IN_BASE = ("NORM", "OUT_FEATURES", "STRIDE_IN_1X1")


def check_backbone_keys(cfg: CfgNode) -> None:
    """Refuse values that describe another backbone than the chosen one, and would be ignored.

    A backbone of one's own may read any key.

    Raises:
        ValueError: a key has another value than its default; or images may be larger than the
            squares that they are padded to.
    """
    chosen, side = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.SQUARE_PAD
    for split in ("TRAIN", "TEST") if side > 0 else ():
        size = cfg.INPUT[f"MAX_SIZE_{split}"]
        if not 0 < size <= side:
            raise ValueError(
                f"INPUT.MAX_SIZE_{split} is {size}, but images are padded "
                f"to squares of {side} pixels (MODEL.BACKBONE.SQUARE_PAD). Set it to at most that."
            )
    if chosen not in (*SECTIONS.values(), *RESNETS):
        return
    default = get_detectron2_cfg()
    add_scnet_config(default)
    reason = f"MODEL.BACKBONE.NAME is '{chosen}', which does not read it"
    unread = [
        f"MODEL.{section}.{key}"
        for section, name in SECTIONS.items()
        if name != chosen
        for key in cfg.MODEL[section]
    ]
    if chosen in RESNETS:
        unread.append("MODEL.BACKBONE.SQUARE_PAD")
    else:
        unread += [f"MODEL.RESNETS.{key}" for key in cfg.MODEL.RESNETS if key not in IN_BASE]
    for key in unread:
        *sections, name = key.split(".")
        values = default
        for section in sections:
            values = values[section]
        require_keys(cfg, {key: (values[name], reason)})
