import math

import torch
from detectron2.modeling.box_regression import Box2BoxTransform

from scnet.modeling import SCNetRPN
from scnet.modeling.box_regression import ClampedBox2BoxTransform

WEIGHTS = (20.0, 20.0, 10.0, 5.0)
BOXES = torch.tensor([[10.0, 20, 50, 100], [0, 0, 8, 4]])


def test_ordinary_deltas_are_detectron2s():
    deltas = torch.randn(2, 12) * 4
    ours = ClampedBox2BoxTransform(WEIGHTS).apply_deltas(deltas, BOXES)
    torch.testing.assert_close(ours, Box2BoxTransform(WEIGHTS).apply_deltas(deltas, BOXES))


def test_boxes_neither_grow_nor_shrink_beyond_the_limit():
    transform = ClampedBox2BoxTransform(WEIGHTS)
    for sign in (1, -1):
        deltas = torch.tensor([[0.0, 0, sign * 1e4, sign * 1e4]] * 2)
        out = transform.apply_deltas(deltas, BOXES)
        factor = math.exp(sign * math.log(1000 / 16))
        torch.testing.assert_close(out[:, 2:] - out[:, :2], (BOXES[:, 2:] - BOXES[:, :2]) * factor)
        torch.testing.assert_close(out[:, 2:] + out[:, :2], BOXES[:, 2:] + BOXES[:, :2])


def test_every_transform_of_the_model_is_clamped(tiny_cfg, make_model):
    model = make_model(tiny_cfg)
    assert isinstance(model.proposal_generator, SCNetRPN)
    transforms = [p.box2box_transform for p in model.roi_heads.box_predictor]
    assert [t.weights[0] for t in transforms[:2]] == [10, 20]
    assert abs(transforms[2].weights[0] - 1 / 0.033) < 1e-6
    assert abs(transforms[2].weights[2] - 1 / 0.067) < 1e-6
    for transform in [model.proposal_generator.box2box_transform, *transforms]:
        assert isinstance(transform, ClampedBox2BoxTransform)
