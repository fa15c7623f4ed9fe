"""Class-wise non-maximum suppression in the form that ONNX has as one operator.

Shapes: B sets of boxes, R boxes in each, K classes, M boxes that are kept.
"""

import torch
from torch import Tensor


def nms_by_class(
    boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float
) -> Tensor:
    """What the operator NonMaxSuppression does, with torchvision's for one class.

    Args:
        boxes: (B, R, 4).
        scores: (B, K, R).
        iou_threshold: a box goes if it overlaps more than this with a better one of its class.
        score_threshold: boxes without a higher score go.

    Returns:
        (M, 3) int64: set, class and box, of those that are kept.
    """
    kept = []
    for b in range(boxes.shape[0]):
        for k in range(scores.shape[1]):
            candidates = torch.nonzero(scores[b, k] > score_threshold)[:, 0]
            best = torch.ops.torchvision.nms(
                boxes[b][candidates], scores[b, k][candidates], iou_threshold
            )
            place = torch.tensor([b, k], device=boxes.device).expand(best.shape[0], 2)
            kept.append(torch.cat([place, candidates[best, None]], dim=1))
    return torch.cat(kept)


# A trace has no loops; scripted, the loops stay what they are.
traceable_nms = torch.jit.script_if_tracing(nms_by_class)


class OnnxNMS(torch.autograd.Function):
    """:func:`nms_by_class`, which becomes the operator in ONNX."""

    @staticmethod
    def forward(ctx, boxes, scores, iou_threshold, score_threshold):
        return nms_by_class(boxes, scores, iou_threshold, score_threshold)

    @staticmethod
    def symbolic(g, boxes, scores, iou_threshold, score_threshold):
        limits = (torch.iinfo(torch.int64).max, iou_threshold, score_threshold)
        limits = [g.op("Constant", value_t=torch.tensor([limit])) for limit in limits]
        return g.op("NonMaxSuppression", boxes, scores, *limits)
