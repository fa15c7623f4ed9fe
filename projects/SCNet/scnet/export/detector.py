"""SCNet at inference as a function of tensors, from image to masks.

It has the layers of the model and puts them together without Detectron2's instances, so that a
tracer sees nothing but operators of PyTorch and torchvision.

Shapes: H, W the size of the image, R boxes, K classes, M the side of the masks of boxes.
"""

from typing import Callable, Dict, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..modeling.context_pooler import ContextPooler
from ..modeling.meta_arch import SCNet
from .boxes import anchors_of_level, best, best_indices, clip, nonempty
from .nms import traceable_nms
from .pasting import paste
from .pooling import pool

Size = Tuple[int, int]


class ExportableDetector(nn.Module):
    """All that happens between an image and its detections, for one image of any size.

    It does what ``SCNet.inference`` does, for "instances".
    """

    def __init__(
        self,
        model: SCNet,
        nms: Callable[..., Tensor] = traceable_nms,
        weighted_sums: bool = True,
    ):
        """
        Args:
            model: is put into evaluation mode.
            nms: a variant of :func:`scnet.export.nms.nms_by_class`.
            weighted_sums: see :func:`scnet.export.pooling.pool`.

        Raises:
            ValueError: the model is no SCNet, or has no limit to the number of detections.
        """
        super().__init__()
        if not isinstance(model, SCNet):
            raise ValueError(
                f"Only MODEL.META_ARCHITECTURE 'SCNet' can be exported, not a "
                f"{type(model).__name__}."
            )
        if model.roi_heads.box_predictor[-1].test_topk_per_image < 0:
            raise ValueError(
                "A model without a limit to the number of detections cannot be exported. Set "
                "TEST.DETECTIONS_PER_IMAGE to a number above 0."
            )
        self.model = model
        self.nms = nms
        self.weighted_sums = weighted_sums
        self.outputs = ["boxes", "scores", "labels"]
        if model.roi_heads.mask_on:
            self.outputs += ["masks", "mask_probabilities"]
        self.eval()

    def forward(self, image: Tensor) -> Tuple[Tensor, ...]:
        """
        Args:
            image: (3, H, W) float32, 0 to 255, channels in the order of INPUT.FORMAT.

        Returns:
            boxes (R, 4): x1, y1, x2, y2 in pixels of the image; scores (R,), the highest first;
            labels (R,) int64; and, if the model predicts masks, masks (R, H, W) bool, and
            mask_probabilities (R, M, M), which they are made of, each within its box.
        """
        size = image.shape[-2:]
        features, _ = self.model.add_context(self.model.backbone(self._preprocess(image)))
        proposals = self._proposals(features, size)
        boxes, scores, labels = self._detections(features, proposals, size)
        if not self.model.roi_heads.mask_on:
            return boxes, scores, labels
        probabilities = self._mask_probabilities(features, boxes, labels)
        return boxes, scores, labels, paste(probabilities, boxes, size), probabilities

    def _preprocess(self, image: Tensor) -> Tensor:
        """Normalise, and pad to a multiple of the backbone's stride."""
        model = self.model
        divisor = max(model.backbone.size_divisibility, 1)
        height, width = ((side + divisor - 1) // divisor * divisor for side in image.shape[-2:])
        x = (image - model.pixel_mean) / model.pixel_std
        return F.pad(x, (0, width - image.shape[2], 0, height - image.shape[1]))[None]

    def _proposals(self, features: Dict[str, Tensor], size: Size) -> Tensor:
        """The boxes (R, 4) of the RPN: the best per level, and of these the best of all."""
        rpn = self.model.proposal_generator
        generator = rpn.anchor_generator
        maps = [features[name] for name in rpn.in_features]
        levels = zip(maps, *rpn.rpn_head(maps), generator.strides, generator.cell_anchors.buffers())
        boxes, scores = [], []
        for x, logits, deltas, stride, cell in levels:
            anchors = anchors_of_level(x.shape[-2:], stride, generator.offset, cell)
            logits = logits[0].permute(1, 2, 0).flatten()
            deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)
            top, index = best(logits, rpn.pre_nms_topk[False])
            index = index.clamp(max=logits.shape[0] - 1)
            proposals = rpn.box2box_transform.apply_deltas(deltas[index], anchors[index])
            proposals = clip(proposals, size)
            boxes.append(proposals)
            scores.append(top.where(nonempty(proposals, rpn.min_box_size), -torch.inf))
        boxes, scores = torch.stack(boxes), torch.stack(scores)
        lowest = torch.finfo(scores.dtype).min  # -inf, which marks what is none, is below
        level, _, box = self.nms(boxes, scores[:, None], rpn.nms_thresh, lowest).unbind(1)
        return boxes[level, box][best_indices(scores[level, box], rpn.post_nms_topk[False])]

    def _detections(
        self, features: Dict[str, Tensor], boxes: Tensor, size: Size
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels that the cascade makes of proposals (R, 4)."""
        heads = self.model.roi_heads
        logits = []
        for head, predictor in zip(heads.box_head, heads.box_predictor):
            stage_logits, deltas = predictor(head(self._pool(heads.box_pooler, features, boxes)))
            boxes = clip(predictor.box2box_transform.apply_deltas(deltas, boxes), size)
            logits.append(stage_logits)
        scores = self._scores(torch.stack(logits))[:, :-1].T  # without the background
        kept = self.nms(
            boxes[None], scores[None], predictor.test_nms_thresh, predictor.test_score_thresh
        )
        _, labels, index = kept.unbind(1)
        boxes, scores = boxes[index], scores[labels, index]
        keep = best_indices(scores, predictor.test_topk_per_image)
        keep = keep[nonempty(boxes[keep]).nonzero()[:, 0]]
        return boxes[keep], scores[keep], labels[keep]

    def _pool(self, pooler: ContextPooler, features: Dict[str, Tensor], boxes: Tensor) -> Tensor:
        return pool(pooler, features, boxes, self.weighted_sums)

    def _scores(self, logits: Tensor) -> Tensor:
        """Logits of all stages (stages, R, K + 1) -> scores (R, K + 1)."""
        heads = self.model.roi_heads
        sigmoid = heads.box_predictor[-1].use_sigmoid_ce
        if heads.score_average == "logits":
            logits = logits.mean(dim=0)
        scores = logits.sigmoid() if sigmoid else logits.softmax(dim=-1)
        return scores if heads.score_average == "logits" else scores.mean(dim=0)

    def _mask_probabilities(
        self, features: Dict[str, Tensor], boxes: Tensor, labels: Tensor
    ) -> Tensor:
        """(R, M, M), of the class of each box, averaged over the mask heads."""
        heads, branch = self.model.roi_heads, self.model.roi_heads.mask_branch
        box_features = None
        if branch.relays:
            pooled = self._pool(heads.box_pooler, features, boxes)
            box_features = {t: heads.box_head[t](pooled) for t in set(branch.stages)}
        logits = branch.all_logits(self._pool(branch.pooler, features, boxes), box_features)
        per_head = torch.stack([x.sigmoid() for x in logits])
        if per_head.shape[2] == 1:  # one mask for all classes
            return per_head.mean(dim=0)[:, 0]
        return per_head.mean(dim=0)[torch.arange(labels.shape[0], device=labels.device), labels]
