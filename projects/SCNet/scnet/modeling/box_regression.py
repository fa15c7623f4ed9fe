"""Box regression with the authors' limits."""

import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from torch import Tensor


class ClampedBox2BoxTransform(Box2BoxTransform):
    """Detectron2's, with the change of width and height clamped from below, too.

    Detectron2 keeps a box from growing by more than 1000 / 16; the authors also keep it from
    shrinking by more.
    """

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """See :meth:`Box2BoxTransform.apply_deltas`. (R, 4 k), (R, 4) -> (R, 4 k)."""
        _, _, weight_w, weight_h = self.weights
        limits = [float("-inf")] * 2 + [-self.scale_clamp * weight_w, -self.scale_clamp * weight_h]
        # Each number is written by the device itself: it would wait for a copy of the list.
        low = torch.stack([torch.full((), limit, device=deltas.device) for limit in limits])
        clamped = torch.maximum(deltas.float(), low.repeat(deltas.shape[1] // 4))
        return super().apply_deltas(clamped, boxes)
