import pytest
import torch
from detectron2.layers import ShapeSpec
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from scnet.modeling.semantic_head import SCNetSemanticHead

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}


def make_head(**kwargs):
    shapes = {name: ShapeSpec(channels=3, stride=stride) for name, stride in STRIDES.items()}
    defaults = {
        "num_classes": 5,
        "channels": 3,
        "num_conv": 4,
        "residual": True,
        "stride": 8,
        "loss_weight": 0.2,
        "ignore_value": 255,
    }
    return SCNetSemanticHead(shapes, **{**defaults, **kwargs})


def make_features(height=64, width=128, images=2):
    return {n: torch.randn(images, 3, height // s, width // s) for n, s in STRIDES.items()}


def test_levels_are_resized_then_convolved_then_summed():
    head, features = make_head(), make_features()
    logits, embedding = head(features)
    assert logits.shape == (2, 5, 8, 16)
    assert embedding.shape == (2, 3, 8, 16)
    fused = 0
    for name, x in features.items():
        conv = head.lateral_convs[name]
        x = F.interpolate(x, (8, 16), mode="bilinear", align_corners=True)
        x = torch.einsum("oc,nchw->nohw", conv.weight[..., 0, 0], x)
        fused = fused + (x + conv.bias[:, None, None]).clamp(min=0)
    x = head.blocks(fused)
    torch.testing.assert_close(logits, head.predictor(x))
    assert (embedding >= 0).all() and (embedding > 0).any()


def test_every_level_matters():
    head, features = make_head(), make_features()
    before = head(features)[0]
    for name in features:
        changed = {**features, name: features[name] + 1}
        assert not torch.allclose(head(changed)[0], before), name


def test_loss_is_the_mean_over_labelled_pixels():
    head = make_head(loss_weight=0.2)
    logits = torch.randn(2, 5, 3, 4)
    targets = torch.randint(0, 5, (2, 3, 4))
    targets[0, 0, :2] = 255
    total, count = 0.0, 0
    for n in range(2):
        for i in range(3):
            for j in range(4):
                if targets[n, i, j] != 255:
                    total -= logits[n, :, i, j].log_softmax(0)[targets[n, i, j]]
                    count += 1
    assert count == 22
    torch.testing.assert_close(head.losses(logits, targets)["loss_sem_seg"], 0.2 * total / count)


def test_nothing_labelled_gives_zero_loss_and_gradient():
    head = make_head()
    logits, _ = head(make_features())
    loss = head.losses(logits, torch.full((2, 8, 16), 255))["loss_sem_seg"]
    loss.backward()
    assert loss == 0
    assert head.predictor.weight.grad.abs().sum() == 0


def test_stride_without_level_is_refused():
    with pytest.raises(ValueError, match="COMMON_STRIDE. is 2"):
        make_head(stride=2)


def test_without_skip_connections_the_convolutions_are_plain():
    head, x = make_head(residual=False, num_conv=3), torch.randn(1, 3, 4, 6)
    expected = x
    for conv in head.blocks:
        expected = F.conv2d(expected, conv.weight, conv.bias, padding=1).clamp(min=0)
    assert len(head.blocks) == 3
    torch.testing.assert_close(head.blocks(x), expected)


def test_skip_connections_over_an_odd_number_are_refused():
    with pytest.raises(ValueError, match="SEMANTIC.NUM_CONV. is 3"):
        make_head(num_conv=3)


sides = st.integers(1, 12)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.sampled_from([4, 8, 16]), sides, sides, st.integers(0, 2**32 - 1))
def test_logits_are_resized_to_where_training_compares_them(stride, height, width, seed):
    head = make_head(stride=stride)
    logits = torch.randn(2, 5, height, width, generator=torch.Generator().manual_seed(seed))
    maps = head.upsample(logits)
    assert maps.shape == (2, 5, height * stride, width * stride)
    torch.testing.assert_close(maps[:, :, ::stride, ::stride], logits)
    # Half way between two cells is their mean; after the last cell it is repeated.
    between = maps[:, :, stride // 2 :: stride, ::stride]
    torch.testing.assert_close(between[:, :, :-1], (logits[:, :, 1:] + logits[:, :, :-1]) / 2)
    torch.testing.assert_close(between[:, :, -1], logits[:, :, -1])
    between = maps[:, :, ::stride, stride // 2 :: stride]
    torch.testing.assert_close(between[..., :-1], (logits[..., 1:] + logits[..., :-1]) / 2)
    torch.testing.assert_close(between[..., -1], logits[..., -1])


@settings(deadline=None, max_examples=20, derandomize=True)
@given(st.sampled_from([4, 8, 16]), sides, sides, st.floats(-100, 100, width=32))
def test_constant_logits_stay_constant(stride, height, width, value):
    maps = make_head(stride=stride).upsample(torch.full((1, 5, height, width), value))
    torch.testing.assert_close(maps, torch.full((1, 5, height * stride, width * stride), value))


def test_the_loss_of_a_map_made_from_its_logits_is_small():
    head, logits = make_head(loss_weight=1.0), 20 * torch.randn(2, 5, 6, 7)
    targets = head.upsample(logits).argmax(dim=1)[:, ::8, ::8]
    assert head.losses(logits, targets)["loss_sem_seg"] < 0.2
    assert head.losses(logits, targets.roll(1, dims=2))["loss_sem_seg"] > 2
