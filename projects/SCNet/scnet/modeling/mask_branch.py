"""The mask branch: which RoIs train which mask head, and how features reach it.

Shapes: N images, R regions over all images, D the length of the box head's vector, (C, S, S)
the RoI features of the mask heads, K foreground classes, M the side of the predicted masks.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch
from detectron2.modeling.roi_heads.mask_head import (
    BaseMaskRCNNHead,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from detectron2.modeling.roi_heads.roi_heads import select_foreground_proposals
from detectron2.structures import Boxes, Instances
from detectron2.structures.boxes import matched_pairwise_iou
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from .cascade import Stage
from .context_pooler import ContextPooler
from .process_mean import Losses


class MaskBranch(nn.Module):
    """Mask heads, each bound to a box stage.

    Head h trains on the positive samples of box stage ``stages[h]`` and, with feature relay,
    gets that stage's box features. At inference all heads see the final boxes, and their
    probabilities are averaged. So

    - ``stages=[2]`` is effective sample consistency: one head, the last stage (Fig. 2c, 3b);
    - ``stages=[2, 2, 2]`` is naive sample consistency (Fig. 3a);
    - ``stages=[0, 1, 2]`` is Cascade Mask R-CNN (Fig. 2a).
    """

    # True: the heads train on the boxes that their stages refined, sampled anew, instead of on
    # those that their stages took in.
    interleaved = False

    def __init__(
        self,
        *,
        pooler: ContextPooler,
        heads: List[nn.Module],
        stages: List[int],
        loss_weights: List[float],
        num_classes: int,
        relays: Optional[Sequence[nn.Module]] = None,
    ):
        """
        Args:
            pooler: RoI features for all heads.
            heads: mask heads of Detectron2's kind: ``head.layers`` gives logits. Their
                ``loss_weight`` and ``vis_period`` count.
            stages: the box stage of each head.
            loss_weights: of each head: alpha_t of its stage (Eq. 3), or beta (Eq. 4).
            num_classes: K, also the label of background RoIs.
            relays: one FeatureRelay per head, or None.

        Raises:
            ValueError: the lists are not equally long, or a head has a ``forward`` of its own,
                which would never be called.
        """
        super().__init__()
        if not len(heads) == len(stages) == len(loss_weights) == len(relays or heads):
            raise ValueError("There must be one stage, one loss weight and one relay per head.")
        for head in heads:
            if getattr(type(head), "forward", None) is not BaseMaskRCNNHead.forward:
                raise ValueError(
                    f"The mask head is {type(head).__name__} (MODEL.ROI_MASK_HEAD.NAME). It must "
                    "be a BaseMaskRCNNHead of Detectron2 with a 'layers' of its own, but not a "
                    "'forward': the mask branch calls 'layers' alone."
                )
        self.in_features = pooler.in_features
        self.pooler = pooler
        self.heads: Any = nn.ModuleList(heads)
        self.stages = list(stages)
        self.loss_weights = list(loss_weights)
        self.num_classes = num_classes
        self.relays: Any = nn.ModuleList(relays) if relays else None

    def forward(self, x: Tensor, box_features: Mapping[int, Optional[Tensor]]) -> List[Tensor]:
        """What some of the heads make of RoI features.

        Args:
            x: (R, C, S, S).
            box_features: for each of these heads, in order, the features (R, D) of the regions that
                are relayed to it; None without feature relay.

        Returns:
            for each of them, logits (R, K, M, M).
        """
        return [
            self.heads[h].layers(x if relayed is None else x + self.relays[h](relayed))
            for h, relayed in box_features.items()
        ]

    def losses(self, features: Dict[str, Tensor], stages: List[Stage]) -> Losses:
        """The losses of the heads on the positive samples of their stages.

        Args:
            features: maps by name.
            stages: what the box cascade did, stage by stage, with ``gt_masks`` in its proposals.

        Returns:
            ``loss_mask``, or ``loss_mask_stage{h}`` if there are several heads. A head without
            positive samples has a loss of zero, which still reaches all its parameters.
        """
        losses = Losses()
        for h, t in enumerate(self.stages):
            positives, is_positive = select_foreground_proposals(
                stages[t].proposals, self.num_classes
            )
            log_iou(positives, t)
            x = self._pool(features, [p.proposal_boxes for p in positives])
            relayed = stages[t].box_features[torch.cat(is_positive)] if self.relays else None
            (logits,), head = self(x, {h: relayed}), self.heads[h]
            loss = mask_rcnn_loss(logits, positives, head.vis_period)
            name = "loss_mask" if len(self.heads) == 1 else f"loss_mask_stage{h}"
            weight = self.loss_weights[h] * head.loss_weight
            losses.add(name, weight * loss, len(x))
        return losses

    def inference(
        self,
        features: Dict[str, Tensor],
        instances: List[Instances],
        box_features: Dict[int, Tensor],
    ) -> List[Instances]:
        """The masks of the final boxes, averaged over the heads.

        Args:
            features: maps by name.
            instances: per image, the final boxes with ``pred_boxes`` and ``pred_classes``.
            box_features: by box stage, (R, D) of the final boxes; empty without feature relay.

        Returns:
            the same instances with ``pred_masks`` (R_i, 1, M, M), probabilities of the predicted
            class within the box.
        """
        x = self._pool(features, [i.pred_boxes for i in instances])
        relayed = {h: box_features[t] if self.relays else None for h, t in enumerate(self.stages)}
        probabilities = []
        for logits in self(x, relayed):
            mask_rcnn_inference(logits.float(), instances)
            probabilities.append([i.pred_masks for i in instances])
        for instance, per_head in zip(instances, zip(*probabilities)):
            instance.pred_masks = torch.stack(per_head).mean(dim=0)
        return instances

    def _pool(self, features: Dict[str, Tensor], boxes: List[Boxes]) -> Tensor:
        return self.pooler([features[name] for name in self.in_features], boxes)


def log_iou(positives: List[Instances], stage: int) -> None:
    """Log the mean IoU of a stage's mask samples with their objects; Fig. 1 is about it."""
    some = [p for p in positives if len(p)]  # others have no objects to compare with
    if some:
        boxes = Boxes.cat([p.proposal_boxes for p in some])
        objects = Boxes.cat([p.gt_boxes for p in some])
        mean = matched_pairwise_iou(boxes, objects).mean().item()
        get_event_storage().put_scalar(f"stage{stage}/mask_samples_iou", mean)
