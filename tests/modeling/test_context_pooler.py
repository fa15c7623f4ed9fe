import itertools

import pytest
import torch
from detectron2.modeling.poolers import ROIPooler, convert_boxes_to_pooler_format
from detectron2.structures import Boxes
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from helpers import random_boxes
from scnet.modeling.context_pooler import (
    GLOBAL_CONTEXT,
    SEMANTIC,
    ContextPooler,
    average_down,
    regions_of_images,
)

LEVELS = {"p2": 4, "p3": 8}
BOXES = [
    Boxes(torch.tensor([[3.0, 5.0, 30.0, 41.0], [8.0, 8.0, 56.0, 24.0]])),
    Boxes(torch.tensor([[0.0, 0.0, 64.0, 64.0]])),
]


def make_pooler(extra, size=7):
    scales = tuple(1 / s for s in LEVELS.values())
    plain = ROIPooler(size, scales, sampling_ratio=0, pooler_type="ROIAlignV2")
    names = [*LEVELS, *extra]
    return plain, ContextPooler(plain, names, semantic_stride=8, semantic_size=14)


def make_maps():
    maps = {name: torch.randn(2, 3, 64 // s, 64 // s) for name, s in LEVELS.items()}
    maps[SEMANTIC] = torch.randn(2, 3, 8, 8)
    maps[GLOBAL_CONTEXT] = torch.randn(2, 3, 1, 1)
    return maps


def bilinear(feature, y, x):
    """Feature (C, H, W) at a point, clamped to the map; a slow reference of RoIAlign's sampling."""
    y, x = max(y, 0.0), max(x, 0.0)
    height, width = feature.shape[1:]
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    dy, dx = (0.0 if y0 == height - 1 else y - y0), (0.0 if x0 == width - 1 else x - x0)
    top = feature[:, y0, x0] * (1 - dx) + feature[:, y0, x1] * dx
    bottom = feature[:, y1, x0] * (1 - dx) + feature[:, y1, x1] * dx
    return top * (1 - dy) + bottom * dy


def semantic_reference(feature, box, size=14, stride=8, average_to=7):
    """One sample per bin (all boxes here are under 14 cells), then the mean of 2x2 bins."""
    x1, y1, x2, y2 = (v / stride - 0.5 for v in box.tolist())
    out = torch.zeros(feature.shape[0], size, size)
    for i, j in itertools.product(range(size), repeat=2):
        y = y1 + (i + 0.5) * (y2 - y1) / size
        x = x1 + (j + 0.5) * (x2 - x1) / size
        out[:, i, j] = bilinear(feature, y, x)
    step = size // average_to
    return out.unflatten(1, (-1, step)).unflatten(3, (-1, step)).mean(dim=(2, 4))


@pytest.mark.parametrize("size", [7, 14])
def test_sum_of_levels_semantic_and_context(size):
    maps = make_maps()
    plain, pooler = make_pooler([SEMANTIC, GLOBAL_CONTEXT], size)
    out = pooler(list(maps.values()), BOXES)
    expected = plain([maps["p2"], maps["p3"]], BOXES)
    for r, (image, box) in enumerate([(0, BOXES[0][0]), (0, BOXES[0][1]), (1, BOXES[1][0])]):
        semantic = semantic_reference(maps[SEMANTIC][image], box.tensor[0], average_to=size)
        expected[r] += semantic + maps[GLOBAL_CONTEXT][image]
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("extra", [[], [SEMANTIC], [GLOBAL_CONTEXT]])
def test_what_is_left_out_is_not_added(extra):
    maps = make_maps()
    plain, pooler = make_pooler(extra)
    _, full = make_pooler([SEMANTIC, GLOBAL_CONTEXT])
    for name in (SEMANTIC, GLOBAL_CONTEXT):
        if name not in extra:
            maps[name] = torch.zeros_like(maps[name])
    expected = full(list(maps.values()), BOXES)
    out = pooler([maps[name] for name in pooler.in_features], BOXES)
    torch.testing.assert_close(out, expected)


def test_no_boxes():
    _, pooler = make_pooler([SEMANTIC, GLOBAL_CONTEXT])
    empty = [Boxes(torch.zeros(0, 4))] * 2
    assert pooler(list(make_maps().values()), empty).shape == (0, 3, 7, 7)


@pytest.mark.parametrize("size", [7, 14])
def test_pooling_on_the_cpu_is_pooling_with_torchvision(size, monkeypatch):
    maps = make_maps()
    _, pooler = make_pooler([SEMANTIC, GLOBAL_CONTEXT], size)
    out = pooler(list(maps.values()), BOXES)
    monkeypatch.setattr(pooler, "pool_as_weighted_sums", None)
    monkeypatch.setattr(pooler, "can_pool_as_weighted_sums", lambda: False)
    torch.testing.assert_close(out, pooler(list(maps.values()), BOXES), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "pooler",
    [
        ROIPooler(7, (1 / 4, 1 / 8), sampling_ratio=0, pooler_type="ROIAlign"),
        ROIPooler(7, (1 / 4, 1 / 8), sampling_ratio=2, pooler_type="ROIAlignV2"),
        ROIPooler(5, (1 / 4, 1 / 8), sampling_ratio=0, pooler_type="ROIAlignV2"),
    ],
    ids=["not aligned", "two sampling ratios", "14 is no multiple of 5"],
)
def test_other_poolers_than_sums(pooler):
    maps = make_maps()
    del maps[GLOBAL_CONTEXT]
    both = ContextPooler(pooler, list(maps), semantic_stride=8, semantic_size=14)
    plain = pooler([maps["p2"], maps["p3"]], BOXES)
    semantic = F.adaptive_avg_pool2d(
        both.semantic_pooler([maps[SEMANTIC]], BOXES), pooler.output_size
    )
    torch.testing.assert_close(both(list(maps.values()), BOXES), plain + semantic)


@pytest.mark.parametrize("counts", [(40, 30), (0, 5), (0, 0)])
def test_pooling_level_by_level_is_detectron2s(counts):
    boxes = [Boxes(random_boxes(count, 900, 900)) for count in counts]
    maps = [torch.randn(2, 3, 900 // s, 900 // s, requires_grad=True) for s in (4, 8, 16)]
    plain = ROIPooler(7, (1 / 4, 1 / 8, 1 / 16), sampling_ratio=0, pooler_type="ROIAlignV2")
    pooler = ContextPooler(plain, ["p2", "p3", "p4"], semantic_stride=8, semantic_size=14)
    rois = regions_of_images(boxes)
    assert torch.equal(rois, convert_boxes_to_pooler_format(boxes))
    out, expected = pooler.pool_level_by_level(maps, boxes, rois), plain(maps, boxes)
    assert torch.equal(out, expected)
    weight = torch.randn_like(out)
    gradients = (torch.autograd.grad((x * weight).sum(), maps) for x in (out, expected))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients))


@pytest.mark.parametrize("size", [7, 14, 5])
def test_averaging_down_is_adaptive_pooling(size):
    for regions in (3, 0):
        x = torch.randn(regions, 2, 14, 14)
        expected = F.adaptive_avg_pool2d(x, size)
        torch.testing.assert_close(average_down(x, (size, size)), expected, atol=5e-7, rtol=0)


def test_pooling_keeps_no_features_for_the_backward_pass(monkeypatch):
    """As on a GPU, where the regions of a step at 14 x 14 would be 0.6 gigabytes."""
    maps = [x.requires_grad_() for x in make_maps().values()]
    _, pooler = make_pooler([SEMANTIC, GLOBAL_CONTEXT])
    monkeypatch.setattr(pooler, "can_pool_as_weighted_sums", lambda: False)
    kept = []
    with saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        out = pooler(maps, BOXES)
    assert out.requires_grad
    assert sum(kept) < out[0].numel()  # regions and indices only
