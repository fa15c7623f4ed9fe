"""A key that a backbone does not read is refused, and so is what timm does not have."""

import sys

import pytest
from detectron2.config import CfgNode

from narrow_backbones import CONVNEXT, MVIT, REGNET, SWIN, VIT, all_backbones, of_timm, set_backbone

pytest.importorskip("timm", reason="needs timm, which is not installed")


@all_backbones
def test_every_key_of_a_backbone_is_read(tiny_cfg, make_model, monkeypatch, keys):
    """A key that nothing reads would be accepted and ignored."""
    set_backbone(tiny_cfg, keys)
    section = tiny_cfg.MODEL[keys["BACKBONE.NAME"].split("_")[1].upper()]
    getattribute, read = CfgNode.__getattr__, set()

    def record(self, key):
        if self is section:
            read.add(key)
        return getattribute(self, key)

    monkeypatch.setattr(CfgNode, "__getattr__", record)
    make_model(tiny_cfg)
    assert read == section.keys()


REFUSED = {
    "TIMM.NAME of another backbone": (SWIN, {"TIMM__NAME": "resnet18"}, "MODEL.TIMM.NAME is"),
    "SWIN of another backbone": (VIT, {"SWIN__DROP_PATH": 0.1}, "MODEL.SWIN.DROP_PATH is 0.1"),
    "deformable Swin": (
        SWIN,
        {"RESNETS__DEFORM_ON_PER_STAGE": [True] * 4},
        "RESNETS.DEFORM_ON_PER_STAGE is .*MODEL.BACKBONE.NAME is 'build_swin_fpn_backbone'",
    ),
    "another ResNet": (CONVNEXT, {"RESNETS__DEPTH": 101}, "MODEL.RESNETS.DEPTH is 101"),
    "maps": (SWIN, {"FPN__IN_FEATURES": ["res2"]}, "IN_FEATURES is .'res2'., but Swin.* 'p0' .str"),
    "order of maps": (
        SWIN,
        {"FPN__IN_FEATURES": ["p1", "p0", "p2", "p3"]},
        "strides 4, 8, 16 and 32, in this order",
    ),
    "maps of ViT": (VIT, {"FPN__IN_FEATURES": ["res2"]}, "FPN.IN_FEATURES is .*ViT makes one map"),
    "average of one map": (VIT, {"FPN__FUSE_TYPE": "avg"}, "MODEL.FPN.FUSE_TYPE is avg"),
    "stages": (REGNET, {"REGNET__W_A": 5.0}, "give 2 stages, but a pyramid needs 4"),
    "no model": (of_timm("convnext_tinny"), {}, "timm .* does not have. The nearest are convnext"),
    "plain transformer": (of_timm("test_vit"), {}, r"has maps of the strides \[16"),
    "one size": (of_timm("swin_tiny_patch4_window7_224"), {}, "takes images of one size only"),
    "no such map": (of_timm("test_resnet", OUT_INDICES=(1, 9)), {}, "OUT_INDICES is .1, 9., but"),
    "norm": (of_timm("test_resnet", NORM="GN"), {}, "MODEL.TIMM.NORM is 'GN'. It may be"),
    "no batch norm": (of_timm("test_convnext", NORM="FrozenBN"), {}, "has no batch norm. Set it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_backbone_does_not_read_is_refused(tiny_cfg, make_model, case):
    keys, more, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make_model(set_backbone(tiny_cfg, keys, **more))


def test_keys_of_others_are_refused_for_resnets(tiny_cfg, make_model):
    tiny_cfg.MODEL.TIMM.NAME = "resnet18"
    with pytest.raises(ValueError, match="MODEL.TIMM.NAME is resnet18, but MODEL.BACKBONE.NAME is"):
        make_model(tiny_cfg)
    tiny_cfg.MODEL.TIMM.NAME = ""
    tiny_cfg.MODEL.BACKBONE.SQUARE_PAD = 192
    with pytest.raises(ValueError, match="MODEL.BACKBONE.SQUARE_PAD is 192, but"):
        make_model(tiny_cfg)


@pytest.mark.parametrize("keys", [SWIN, VIT, MVIT, CONVNEXT], ids=["swin", "vit", "mvit", "timm"])
def test_without_timm_the_key_is_named(tiny_cfg, make_model, monkeypatch, keys):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=f"{keys['BACKBONE.NAME']}' .*needs .*pip install"):
        make_model(set_backbone(tiny_cfg, keys))
