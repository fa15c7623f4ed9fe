"""Every shipped config builds, takes a training step and an inference step, at its full width."""

import pytest
import torch

from helpers import detect, training_step
from scnet import get_cfg
from scnet.config import CONFIG_DIR

CONFIGS = sorted(p for p in CONFIG_DIR.rglob("*.yaml") if not p.name.startswith("Base"))

# Millions of parameters of the reference implementation.
PARAMETERS = {
    "scnet_R_50_FPN_1x_coco": 94.80,
    "scnet_R_50_FPN_20e_coco": 94.80,
    "scnet_R_101_FPN_20e_coco": 113.79,
    "scnet_X_101_64x4d_FPN_20e_coco": 152.70,
    "htc_R_50_FPN_20e_coco": 80.26,
    "cascade_mask_rcnn_R_50_FPN_20e_coco": 77.32,
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config(path, make_model, make_batch):
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16])
    cfg.merge_from_list(["MODEL.RPN.POST_NMS_TOPK_TRAIN", 50, "MODEL.RPN.POST_NMS_TOPK_TEST", 10])
    model = make_model(cfg)
    if path.stem in PARAMETERS:
        # From the state dict: gamma and beta of frozen layers are buffers in Detectron2.
        names = ("weight", "bias")
        state = model.state_dict()
        count = sum(v.numel() for k, v in state.items() if k.endswith(names)) / 1e6
        assert count == pytest.approx(PARAMETERS[path.stem], abs=0.005)
    batch = make_batch(cfg, [[0, cfg.MODEL.ROI_HEADS.NUM_CLASSES - 1]], sizes=[(64, 64)])
    training_step(model, batch)
    instances = detect(model, batch)[0]
    assert torch.isfinite(instances.pred_boxes.tensor).all()
    assert instances.pred_masks.shape == (len(instances), 64, 64)
