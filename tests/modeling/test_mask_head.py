import pytest
import torch
from detectron2.layers import ShapeSpec
from torch.nn import functional as F

from scnet.modeling.mask_head import SCNetMaskHead


def test_layers_are_blocks_then_deconvolution_then_predictor():
    shape = ShapeSpec(channels=4, height=6, width=6)
    head = SCNetMaskHead(shape, num_conv=6, conv_dim=4, num_classes=3)
    x = torch.randn(2, 4, 6, 6)
    assert len(head.blocks) == 3
    y = head.blocks(x)
    y = F.conv_transpose2d(y, head.deconv.weight, head.deconv.bias, stride=2).clamp(min=0)
    y = F.conv2d(y, head.predictor.weight, head.predictor.bias)
    assert y.shape == (2, 3, 12, 12)
    torch.testing.assert_close(head.layers(x), y)


@pytest.mark.parametrize("per_stage, stages, blocks", [(4, 3, 6), (2, 3, 3), (4, 1, 2)])
def test_depth_is_that_of_all_stages_stacked(tiny_cfg, per_stage, stages, blocks):
    tiny_cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = per_stage
    tiny_cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS = (0.5, 0.6, 0.7)[:stages]
    head = SCNetMaskHead(tiny_cfg, ShapeSpec(channels=16, height=14, width=14))
    assert len(head.blocks) == blocks


@pytest.mark.parametrize("num_conv", [0, 3])
def test_no_or_an_odd_number_of_convolutions_is_refused(num_conv):
    shape = ShapeSpec(channels=4, height=6, width=6)
    with pytest.raises(ValueError, match=f"num_conv is {num_conv} .*NUM_CONV"):
        SCNetMaskHead(shape, num_conv=num_conv, conv_dim=4, num_classes=1)
