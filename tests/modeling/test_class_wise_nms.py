"""Suppression for traces, against Detectron2's and torchvision's."""

import pytest
import torch
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference_single_image
from torchvision.ops import batched_nms

from helpers import random_boxes
from scnet.export.files import OPSET, quiet_tracing
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


class Suppress(torch.nn.Module):
    def forward(self, boxes, scores):
        found = traceable_fast_rcnn_inference(boxes, scores, (50, 60), 0.2, 0.3, 10)
        return found.pred_boxes.tensor, found.scores, found.pred_classes


def candidates(count):
    return random_boxes(count, 70, 70) - 10, torch.rand(count, 5) * min(count, 1)


@pytest.mark.parametrize("count", [3, 200, 0])
def test_a_trace_is_for_any_number_of_boxes(count):
    with quiet_tracing():
        traced = torch.jit.trace(Suppress(), candidates(20), check_trace=False)
    boxes, scores = candidates(count)
    for found, expected in zip(traced(boxes, scores), Suppress()(boxes, scores)):
        assert torch.equal(found, expected)


def test_onnx_has_one_operator_for_all_classes(tmp_path):
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    path, names = str(tmp_path / "nms.onnx"), ["boxes", "scores"]
    with quiet_tracing():
        torch.onnx.export(
            *(Suppress(), candidates(20), path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            dynamic_axes={name: {0: "count"} for name in names},
        )
    nodes = [node.op_type for node in onnx.load(path).graph.node]
    assert nodes.count("NonMaxSuppression") == 1 and not {"If", "Loop"} & set(nodes)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (3, 200, 0):
        boxes, scores = candidates(count)
        found = session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})
        for x, expected in zip(found, Suppress()(boxes, scores)):
            assert torch.equal(torch.from_numpy(x), expected)


def test_the_cascade_uses_it_in_a_trace(tiny_cfg, make_model, monkeypatch):
    heads = make_model(tiny_cfg).roi_heads.eval()
    boxes, scores = random_boxes(20, 50, 60), torch.rand(20, heads.num_classes + 1)
    (expected,) = heads.suppress([boxes], [scores], [(50, 60)])

    def suppress(boxes, scores):
        (found,) = heads.suppress([boxes], [scores], [(50, 60)])
        return found.pred_boxes.tensor, found.scores, found.pred_classes

    monkeypatch.setattr("scnet.modeling.cascade.fast_rcnn_inference", None)
    with quiet_tracing():
        traced = torch.jit.trace(suppress, (boxes, scores), check_trace=False)
    found, found_scores, classes = traced(boxes, scores)
    assert torch.equal(found, expected.pred_boxes.tensor) and len(found) > 1
    assert torch.equal(found_scores, expected.scores)
    assert torch.equal(classes, expected.pred_classes)
