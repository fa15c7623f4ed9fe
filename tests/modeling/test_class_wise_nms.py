"""Suppression for traces, against Detectron2's and torchvision's."""

import pytest
import torch
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference_single_image
from torchvision.ops import batched_nms

from helpers import random_boxes
from scnet.modeling.class_wise_nms import nms_by_class, traceable_fast_rcnn_inference


def test_every_class_is_treated_alone():
    boxes, scores = random_boxes(60, 50, 50), torch.rand(3, 60)
    k, r = (scores > 0.3).nonzero().unbind(1)
    keep = batched_nms(boxes[r], scores[k, r], k, 0.4)
    expected = set(zip(k[keep].tolist(), r[keep].tolist()))
    found = nms_by_class(boxes, scores, 0.4, 0.3)
    assert 3 < len(expected) < len(k)
    assert len(found) == len(expected) and {tuple(x) for x in found.tolist()} == expected


@pytest.mark.parametrize("score_threshold, limit", [(0.2, 1000), (0.2, 10), (0.9, 10), (1, 10)])
def test_detections_are_those_of_detectron2(score_threshold, limit):
    """With boxes over the border; with more and less than the limit, and with none."""
    boxes = random_boxes(80, 70, 70) - 10
    scores = torch.rand(80, 5)
    settings = ((50, 60), score_threshold, 0.3, limit)
    expected, _ = fast_rcnn_inference_single_image(boxes, scores, *settings)
    found = traceable_fast_rcnn_inference(boxes, scores, *settings)
    assert (len(expected) == 0) == (score_threshold == 1) and len(expected) <= limit
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    assert found.image_size == (50, 60)
