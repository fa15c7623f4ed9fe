"""The keys of the config that choose and shape the heads: each one works or is refused."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.modeling.roi_heads import ROI_MASK_HEAD_REGISTRY, BaseMaskRCNNHead
from torch import nn

from helpers import detect, set_mask_branch, training_step
from scnet.modeling import HTCMaskHead
from scnet.modeling.semantic_head import SemanticHead

WIDTH = 32  # group norm has 32 groups


@ROI_MASK_HEAD_REGISTRY.register()
class MyMaskHead(BaseMaskRCNNHead):
    """A single layer."""

    def __init__(self, cfg, input_shape):
        super().__init__(loss_weight=0.5)
        self.conv = nn.Conv2d(input_shape.channels, cfg.MODEL.ROI_HEADS.NUM_CLASSES, 1)

    def layers(self, x):
        return self.conv(x)


@ROI_MASK_HEAD_REGISTRY.register()
class MyHTCMaskHead(HTCMaskHead):
    pass


@ROI_MASK_HEAD_REGISTRY.register()
class MyHeadWithForward(MyMaskHead):
    def forward(self, x, instances):
        return {}


@SEM_SEG_HEADS_REGISTRY.register()
class MySemanticHead(SemanticHead):
    """The classes of every pixel from one level."""

    def __init__(self, cfg, input_shape):
        super().__init__(num_classes=9, stride=8, loss_weight=1.0, ignore_value=255)
        self.conv = nn.Conv2d(input_shape["p3"].channels, 9, 1)

    def forward(self, features):
        return self.conv(features["p3"]), features["p3"]


@pytest.fixture
def wide_cfg(tiny_cfg):
    for key in ("FPN.OUT_CHANNELS", "SEM_SEG_HEAD.CONVS_DIM", "ROI_MASK_HEAD.CONV_DIM"):
        tiny_cfg.merge_from_list([f"MODEL.{key}", WIDTH])
    return tiny_cfg


def set_key(cfg, key, value):
    cfg.merge_from_list([key, value])


@pytest.mark.parametrize("branch, count", [("sample_consistency", 1), ("per_stage", 3)])
def test_a_mask_head_of_ones_own(tiny_cfg, make_model, make_batch, branch, count):
    set_mask_branch(tiny_cfg, branch)
    tiny_cfg.MODEL.ROI_MASK_HEAD.NAME = "MyMaskHead"
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[0, 1], [4]])
    heads = model.roi_heads.mask_branch.heads
    assert [type(head) for head in heads] == [MyMaskHead] * count
    losses = training_step(model, batch)
    assert all(instances.has("pred_masks") for instances in detect(model, batch))
    for head in heads:  # its loss_weight counts
        head.loss_weight = 1.0
    name = "loss_mask" if count == 1 else "loss_mask_stage0"
    torch.manual_seed(3)
    whole = training_step(model, batch)[name]
    for head in heads:
        head.loss_weight = 0.5
    torch.manual_seed(3)
    torch.testing.assert_close(training_step(model, batch)[name], 0.5 * whole)
    assert name in losses


def test_a_mask_head_of_ones_own_with_information_flow(tiny_cfg, make_model, make_batch):
    set_mask_branch(tiny_cfg, "interleaved")
    tiny_cfg.MODEL.ROI_MASK_HEAD.NAME = "MyHTCMaskHead"
    model = make_model(tiny_cfg)
    assert isinstance(model.roi_heads.mask_branch.heads[2], MyHTCMaskHead)
    training_step(model, make_batch(tiny_cfg, [[0, 1], [4]]))


def test_a_semantic_head_of_ones_own(tiny_cfg, make_model, make_batch):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NAME = "MySemanticHead"
    tiny_cfg.MODEL.SCNET.SEMANTIC.OUTPUT = True
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[0, 1], [4]])
    assert isinstance(model.semantic_head, MySemanticHead)
    assert "loss_sem_seg" in training_step(model, batch)
    with torch.no_grad():
        assert model.eval()(batch)[0]["sem_seg"].shape == (9, 64, 80)


BRANCHES = ["sample_consistency", "naive_sample_consistency", "per_stage", "interleaved"]


@pytest.mark.parametrize("branch", BRANCHES)
def test_mask_heads_have_the_norm_and_the_width_of_the_config(
    wide_cfg, make_model, make_batch, branch
):
    set_mask_branch(wide_cfg, branch)
    wide_cfg.MODEL.ROI_MASK_HEAD.NORM = "GN"
    wide_cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 2 * WIDTH
    model = make_model(wide_cfg)
    for h, head in enumerate(model.roi_heads.mask_branch.heads):
        assert head.predictor.in_channels == 2 * WIDTH
        convs = [m for m in head.modules() if type(m).__name__ == "Conv2d"]
        convs.remove(head.predictor)
        assert len(convs) == {"sample_consistency": 7, "interleaved": 2 + (h > 0)}.get(branch, 2)
        for layer in convs:
            assert isinstance(layer.norm, nn.GroupNorm) and layer.bias is None
    training_step(model, make_batch(wide_cfg, [[0, 1], [4]]))


@pytest.mark.parametrize("residual", [True, False])
def test_the_semantic_head_has_the_norm_of_the_config(wide_cfg, make_model, make_batch, residual):
    wide_cfg.MODEL.SEM_SEG_HEAD.NORM = "GN"
    wide_cfg.MODEL.SCNET.SEMANTIC.RESIDUAL = residual
    model = make_model(wide_cfg)
    convs = [m for m in model.semantic_head.modules() if hasattr(m, "norm")]
    assert len(convs) == 5 + 4 + 1 + 1  # levels, blocks, embedding, predictor
    assert [m for m in convs if m.norm is None] == [model.semantic_head.predictor]
    training_step(model, make_batch(wide_cfg, [[0, 1], [4]]))


def test_levels_and_semantic_embedding_are_pooled_alike(tiny_cfg, make_model):
    for head, ratio in {"ROI_BOX_HEAD": 2, "ROI_MASK_HEAD": 3}.items():
        set_key(tiny_cfg, f"MODEL.{head}.POOLER_SAMPLING_RATIO", ratio)
        set_key(tiny_cfg, f"MODEL.{head}.POOLER_TYPE", "ROIAlign")
    heads = make_model(tiny_cfg).roi_heads
    for context_pooler, ratio in {heads.box_pooler: 2, heads.mask_branch.pooler: 3}.items():
        for pooler in (context_pooler.pooler, context_pooler.semantic_pooler):
            assert all(p.sampling_ratio == ratio and not p.aligned for p in pooler.level_poolers)


@pytest.mark.parametrize("kind", ["ROI_MASK_HEAD", "SEM_SEG_HEAD", "ROI_BOX_HEAD"])
def test_a_name_that_is_not_registered(tiny_cfg, make_model, kind):
    set_key(tiny_cfg, f"MODEL.{kind}.NAME", "NoSuchHead")
    with pytest.raises(
        ValueError, match=f"MODEL.{kind}.NAME is 'NoSuchHead'.*Registered are .*SCNet"
    ):
        make_model(tiny_cfg)


REFUSED = {
    "MODEL.KEYPOINT_ON True": "MODEL.KEYPOINT_ON is True.*no keypoints",
    "MODEL.LOAD_PROPOSALS True": "MODEL.LOAD_PROPOSALS is True",
    "MODEL.PROPOSAL_GENERATOR.NAME PrecomputedProposals": "MODEL.PROPOSAL_GENERATOR.NAME must be",
    "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT 0.5": "INSTANCE_LOSS_WEIGHT is 0.5",
    "MODEL.PANOPTIC_FPN.COMBINE.ENABLED False": "MODEL.PANOPTIC_FPN.COMBINE.ENABLED is False",
    "MODEL.ROI_HEADS.NAME CascadeROIHeads": "'semantic' is made .*MODEL.ROI_HEADS.NAME",
    "MODEL.ROI_HEADS.IOU_THRESHOLDS [0.5,0.7]": "IOU_THRESHOLDS is .0.5, 0.7.*IOUS says",
    "MODEL.ROI_HEADS.IOU_LABELS [1,0]": "MODEL.ROI_HEADS.IOU_LABELS is",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS (1.,1.,1.,1.)": "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS is",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG False": "CLS_AGNOSTIC_BBOX_REG is False",
    "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES True": "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES is True",
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS (0.5,0.6)": "is for 3 stages, but .*IOUS has 2",
    "MODEL.SEM_SEG_HEAD.NAME SemSegFPNHead": "SemSegFPNHead .MODEL.SEM_SEG_HEAD.NAME.*Semantic",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM 8": "MODEL.SEM_SEG_HEAD.CONVS_DIM. is 8, but the levels",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES ['p2','p3','res4']": r"IN_FEATURES has \['res4'\]",
    "MODEL.SCNET.GLOBAL_CONTEXT.IN_FEATURE p7": "GLOBAL_CONTEXT.IN_FEATURE. is 'p7'",
    "MODEL.ROI_MASK_HEAD.NAME MaskRCNNConvUpsampleHead": "'SCNetMaskHead' goes with.*sample_con",
    "MODEL.ROI_MASK_HEAD.NAME HTCMaskHead": "ROI_MASK_HEAD.NAME is 'HTCMaskHead', but 'SCNetMask",
    "MODEL.ROI_MASK_HEAD.NAME MyHeadWithForward": "MyHeadWithForward .MODEL.ROI_MASK_HEAD.NAME",
    "MODEL.SCNET.MASK_BRANCH per_stage": "NAME is 'SCNetMaskHead', but 'MaskRCNNConvUpsampleHead'",
    "MODEL.SCNET.MASK_BRANCH deep": "MASK_BRANCH is 'deep'.*'interleaved'",
    "MODEL.SCNET.SEMANTIC.OUTPUT True MODEL.SCNET.SEMANTIC.SOURCE none": "SEMANTIC.OUTPUT. is True",
    "MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT True MODEL.SCNET.GLOBAL_CONTEXT.ENABLED False": (
        "GLOBAL_CONTEXT.OUTPUT. is True"
    ),
}


@pytest.mark.parametrize("opts", REFUSED)
def test_what_cannot_be_honoured_is_refused(tiny_cfg, make_model, opts):
    tiny_cfg.merge_from_list(opts.split())
    with pytest.raises(ValueError, match=REFUSED[opts]):
        make_model(tiny_cfg)


def test_a_head_without_information_flow_is_refused(tiny_cfg, make_model):
    set_mask_branch(tiny_cfg, "interleaved")
    tiny_cfg.MODEL.ROI_MASK_HEAD.NAME = "MyMaskHead"
    with pytest.raises(ValueError, match="MyMaskHead .MODEL.ROI_MASK_HEAD.NAME.*HTCMaskHead"):
        make_model(tiny_cfg)


READ_ELSEWHERE = {
    "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER",  # by the federated loss, if it is on
    "MODEL.SCNET.OPTIMIZE_FOR_INFERENCE",  # by evaluation
}


def test_every_key_of_the_parts_is_read(tiny_cfg, make_model, monkeypatch):
    """A key that nothing reads would be accepted and ignored."""
    tiny_cfg.MODEL.SCNET.SEMANTIC.SOURCE = "panoptic"
    tiny_cfg.MODEL.SCNET.SEMANTIC.OUTPUT = True
    names, keys = {}, set()

    def walk(node, name):
        names[id(node)] = name
        for key, value in node.items():
            if isinstance(value, CfgNode):
                walk(value, f"{name}{key}.")
            else:
                keys.add(f"{name}{key}")

    for section in ("PROPOSAL_GENERATOR", "RPN", "ROI_HEADS", "ROI_BOX_HEAD", "SCNET", "FPN"):
        walk(tiny_cfg.MODEL[section], f"MODEL.{section}.")
    for section in ("ROI_BOX_CASCADE_HEAD", "ROI_MASK_HEAD", "SEM_SEG_HEAD", "PANOPTIC_FPN"):
        walk(tiny_cfg.MODEL[section], f"MODEL.{section}.")
    getattribute, read = CfgNode.__getattr__, set()

    def record(self, key):
        read.add(f"{names.get(id(self))}{key}")
        return getattribute(self, key)

    monkeypatch.setattr(CfgNode, "__getattr__", record)
    make_model(tiny_cfg)
    assert keys - read == READ_ELSEWHERE
