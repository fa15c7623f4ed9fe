"""Non-maximum suppression class by class, for a trace.

While a trace is recorded, torchvision's ``batched_nms`` shifts the classes apart and compares each
box with all others, of its own and of other classes. The authors' score threshold of 0.001 leaves
tens of thousands of boxes, and this comparison would take as long as the rest of the network.
Here boxes are compared within their class, as ``batched_nms`` does with many boxes otherwise.

Shapes: R boxes, K classes, M boxes that are kept.
"""

from typing import Tuple

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor


def traceable_fast_rcnn_inference(
    boxes: Tensor,
    scores: Tensor,
    image_size: Tuple[int, int],
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> Instances:
    """Do for one image what Detectron2's ``fast_rcnn_inference`` does, in a trace.

    Args:
        boxes: (R, 4).
        scores: (R, K + 1), the background last.
        image_size: height and width; boxes are clipped to it.
        score_threshold: boxes without a higher score are left out.
        iou_threshold: a box goes if it overlaps more than this with a better one of its class.
        max_detections: how many are returned at most.

    Returns:
        Instances with ``pred_boxes``, ``scores`` and ``pred_classes``, the best first.
    """
    clipped = Boxes(boxes)
    clipped.clip(image_size)
    scores = scores[:, :-1].T
    nms = _OnnxNMS.apply if torch.onnx.is_in_onnx_export() else _scripted_nms
    classes, index = nms(clipped.tensor, scores, iou_threshold, score_threshold).unbind(1)
    scores = scores[classes, index]
    best = scores.argsort(descending=True)[:max_detections]
    return Instances(
        image_size,
        pred_boxes=clipped[index[best]],
        scores=scores[best],
        pred_classes=classes[best],
    )


def nms_by_class(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float
) -> Tensor:
    """Suppress the boxes of each class with torchvision's ``nms``.

    Args:
        boxes: (R, 4).
        scores: (K, R).
        iou_threshold, score_threshold: see :func:`traceable_fast_rcnn_inference`.

    Returns:
        (M, 2) int64: class and box, of those that are kept.
    """
    kept = []
    for k in range(scores.shape[0]):
        candidates = torch.nonzero(scores[k] > score_threshold)[:, 0]
        best = torch.ops.torchvision.nms(boxes[candidates], scores[k][candidates], iou_threshold)
        kept.append(torch.stack([torch.full_like(best, k), candidates[best]], dim=1))
    return torch.cat(kept)


# A trace has no loops; scripted, the loop stays what it is.
_scripted_nms = torch.jit.script_if_tracing(nms_by_class)


class _OnnxNMS(torch.autograd.Function):
    """:func:`nms_by_class` as one operator of ONNX, NonMaxSuppression."""

    @staticmethod
    def forward(ctx, boxes, scores, iou_threshold, score_threshold):
        return nms_by_class(boxes, scores, iou_threshold, score_threshold)

    @staticmethod
    def symbolic(g, boxes, scores, iou_threshold, score_threshold):
        limits = (torch.iinfo(torch.int64).max, iou_threshold, score_threshold)
        limits = [g.op("Constant", value_t=torch.tensor([limit])) for limit in limits]
        one_image = g.op("Constant", value_t=torch.tensor([0]))
        sets = [g.op("Unsqueeze", x, one_image) for x in (boxes, scores)]
        kept = g.op("NonMaxSuppression", *sets, *limits)  # (M, 3): image, class and box
        return g.op("Gather", kept, g.op("Constant", value_t=torch.tensor([1, 2])), axis_i=1)
