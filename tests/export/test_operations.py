"""The parts of the exported graph against those of Detectron2 and torchvision."""

import pytest
import torch
from detectron2.layers import paste_masks_in_image
from detectron2.structures import Boxes
from torchvision.ops import batched_nms

from scnet.export.boxes import anchors_of_level, best_indices, clip, nonempty
from scnet.export.nms import nms_by_class
from scnet.export.pasting import paste
from scnet.export.pooling import pool


def random_boxes(count, height, width):
    corners = torch.rand(count, 2, 2) * torch.tensor([width, height])
    return torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)


def test_masks_are_pasted_as_detectron2_does():
    height, width = 60, 90
    boxes = random_boxes(40, height, width)
    boxes[0] = torch.tensor([-20.0, -10.0, 30.5, 200.0])  # over the border
    boxes[1] = torch.tensor([5.2, 6.3, 5.7, 6.4])  # within a pixel
    masks = torch.rand(40, 28, 28)
    expected = paste_masks_in_image(masks, boxes, (height, width))
    found = paste(masks, boxes, (height, width))
    assert found.dtype == torch.bool and expected.sum() > 5000
    assert (expected != found).sum() <= 3  # where a probability is 0.5 but for rounding


def test_no_masks():
    assert paste(torch.rand(0, 28, 28), torch.rand(0, 4), (7, 9)).shape == (0, 7, 9)


def test_nms_treats_every_class_and_set_alone():
    boxes = torch.stack([random_boxes(60, 50, 50), random_boxes(60, 50, 50)])
    scores = torch.rand(2, 3, 60)
    kept = nms_by_class(boxes, scores, 0.4, 0.3)
    for b in range(2):
        k, r = (scores[b] > 0.3).nonzero().unbind(1)
        keep = batched_nms(boxes[b, r], scores[b, k, r], k, 0.4)
        expected = {(b, *pair) for pair in zip(k[keep].tolist(), r[keep].tolist())}
        assert 3 < len(expected) < len(k)
        assert {tuple(x) for x in kept.tolist() if x[0] == b} == expected


def test_best_indices_are_as_many_as_there_are():
    scores = torch.tensor([0.2, -torch.inf, 0.7, 0.5])
    assert best_indices(scores, 2).tolist() == [2, 3]
    assert best_indices(scores, 9).tolist() == [2, 3, 0]
    assert best_indices(scores[:0], 2).tolist() == []


def test_boxes_are_clipped_as_detectron2_does():
    boxes = torch.randn(50, 4) * 40
    expected = Boxes(boxes.clone())
    expected.clip((20, 30))
    assert torch.equal(clip(boxes, (20, 30)), expected.tensor)
    assert torch.equal(nonempty(boxes, 2), Boxes(boxes).nonempty(2))


def test_anchors_are_those_of_the_generator(tiny_cfg, make_model):
    tiny_cfg.MODEL.ANCHOR_GENERATOR.OFFSET = 0.25
    generator = make_model(tiny_cfg).proposal_generator.anchor_generator
    maps = [torch.zeros(1, 1, 9 // 2**k + 1, 12 // 2**k + 1) for k in range(5)]
    cells = list(generator.cell_anchors)
    for x, expected, stride, cell in zip(maps, generator(maps), generator.strides, cells):
        found = anchors_of_level(x.shape[-2:], stride, 0.25, cell)
        assert torch.equal(found, expected.tensor)


@pytest.mark.parametrize("weighted_sums", [True, False])
@pytest.mark.parametrize("count", [30, 1, 0])
def test_boxes_are_pooled_as_the_context_pooler_does(tiny_cfg, make_model, count, weighted_sums):
    heads = make_model(tiny_cfg).roi_heads
    boxes = random_boxes(count, 500, 700)  # from all levels
    features = {f"p{k}": torch.rand(1, 16, 512 // 2**k, 704 // 2**k) for k in range(2, 6)}
    features["semantic"] = torch.rand(1, 16, 64, 88)
    features["global_context"] = torch.rand(1, 16, 1, 1)
    for pooler in (heads.box_pooler, heads.mask_branch.pooler):
        expected = pooler([features[name] for name in pooler.in_features], [Boxes(boxes)])
        found = pool(pooler, features, boxes, weighted_sums)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
