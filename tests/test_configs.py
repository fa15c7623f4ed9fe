"""Every shipped model builds, takes a training step and an inference step, at its full width.

Configs that differ in their data or schedule only share a model.
"""

import re

import pytest
import torch
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers

from helpers import NARROW_BACKBONES, REPOSITORY, detect, shipped_models, training_step

# Millions of parameters of the reference implementation.
PARAMETERS = {
    "scnet_R_50_FPN_1x_coco": 94.80,
    "scnet_R_50_FPN_20e_coco": 94.80,
    "scnet_R_101_FPN_20e_coco": 113.79,
    "scnet_X_101_64x4d_FPN_20e_coco": 152.70,
    "htc_R_50_FPN_20e_coco": 80.26,
    "cascade_mask_rcnn_R_50_FPN_20e_coco": 77.32,
}


# Of docs/backbones.md: config -> millions of parameters.
PAGE = (REPOSITORY / "docs/backbones.md").read_text(encoding="utf-8")
TABLE = dict(re.findall(r"^\| `(?:backbones/)?(\S+)\.yaml` \| ([\d.]+) ", PAGE, re.MULTILINE))
OPTS = [
    *("MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", 50, "MODEL.RPN.POST_NMS_TOPK_TEST", 10),
    *("TEST.DETECTIONS_PER_IMAGE", 5),
    # Without training a deep backbone can be sure that all is background ...
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", -1.0, "MODEL.BACKBONE.SQUARE_PAD", 64),
]


def is_htc_with_another_backbone(model):
    """Its parts are those of other models."""
    (name, *_), cfg = model
    return name.startswith("htc") and cfg.MODEL.BACKBONE.NAME != "build_resnet_fpn_backbone"


MODELS = [model for model in shipped_models(OPTS) if not is_htc_with_another_backbone(model)]
MODELS += filter(is_htc_with_another_backbone, shipped_models([*OPTS, *NARROW_BACKBONES]))


def test_every_published_size_is_compared():
    names = [name for names, _ in MODELS for name in names]
    assert len(TABLE) > 10
    less = PARAMETERS["scnet_R_50_FPN_20e_coco"] - PARAMETERS["htc_R_50_FPN_20e_coco"]
    for name, documented in TABLE.items():
        if name.startswith("htc"):
            scnet = TABLE[name.replace("htc", "scnet")]
            assert float(scnet) - float(documented) == pytest.approx(less, abs=0.11), name
    assert len(names) == len(set(names)) and set(names) >= set(PARAMETERS)


def test_backbones_that_need_timm_are_among_them():
    pytest.importorskip("timm", reason="needs timm, which is not installed")
    assert {cfg.MODEL.BACKBONE.NAME for _, cfg in MODELS} >= {
        *("build_swin_fpn_backbone", "build_vit_backbone", "build_timm_fpn_backbone")
    }


@pytest.mark.slow
@pytest.mark.parametrize("names, cfg", MODELS, ids=[names[0] for names, _ in MODELS])
def test_config(names, cfg, make_model, make_batch):
    model = make_model(cfg)
    # From the state dict: gamma and beta of frozen layers are buffers in Detectron2.
    weights = (v for k, v in model.state_dict().items() if k.endswith(("weight", "bias")))
    count = sum(v.numel() for v in weights) / 1e6
    for name in PARAMETERS.keys() & names:
        assert count == pytest.approx(PARAMETERS[name], abs=0.005), name
    for name, documented in TABLE.items():
        if name in names and not is_htc_with_another_backbone((names, cfg)):
            parameters = sum(v.numel() for v in model.parameters()) / 1e6
            assert max(count, parameters) == pytest.approx(float(documented), abs=0.05), name
    batch = make_batch(cfg, [[0, cfg.MODEL.ROI_HEADS.NUM_CLASSES - 1]], sizes=[(64, 64)])
    training_step(model, batch)
    for module in model.modules():  # ... and that all boxes are elsewhere
        if isinstance(module, FastRCNNOutputLayers):
            torch.nn.init.zeros_(module.bbox_pred.weight)
    instances = detect(model, batch)[0]
    assert len(instances)
    assert torch.isfinite(instances.pred_boxes.tensor).all()
    assert instances.pred_masks.shape == (len(instances), 64, 64)
