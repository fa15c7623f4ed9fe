"""The cascade of box stages (Sec. 3.1), with samples drawn anew at every stage.

Shapes: N images, R regions over all images, K foreground classes, D the length of the box
head's vector.
"""

import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling.roi_heads import CascadeROIHeads, ROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor

from .at_least_one import at_least_one
from .box_regression import ClampedBox2BoxTransform
from .class_wise_nms import traceable_fast_rcnn_inference
from .mask_targets import MatchedMasks
from .process_mean import Losses
from .required_keys import require_keys


class Stage(NamedTuple):
    """What a box stage took in and gave.

    Attributes:
        proposals: per image, the boxes that were pooled (``proposal_boxes``); in training with
            their targets (``gt_classes``, ``gt_boxes``, ``gt_masks``) and ``is_gt``, which marks
            those that are ground truth appended for sampling.
        box_features: (R, D), the output of the box head.
        predictions: logits (R, K + 1), the background last, and deltas (R, 4).
        refined: per image, the boxes (R_i, 4) for the next stage, which leaves out those without
            area; in training, appended ground truth has none.
    """

    proposals: List[Instances]
    box_features: Tensor
    predictions: Tuple[Tensor, Tensor]
    refined: List[Tensor]


class BoxCascade(CascadeROIHeads):
    """Detectron2's cascade with the choices of the SCNet authors.

    - Ground truth is appended and RoIs are sampled at every stage (``resample``); Detectron2
      does so once. What was appended for one stage does not go on to the next.
    - Each stage's losses have a weight (alpha of Eq. 3), and the gradient is not scaled down
      by the number of stages on its way into the feature maps.
    - Scores can be averaged over the stages as logits.
    """

    @configurable
    def __init__(
        self, *, resample: bool, score_average: str, stage_loss_weights: List[float], **kwargs
    ):
        """
        Args:
            resample: see above.
            score_average: "logits" or "probabilities".
            stage_loss_weights: alpha, one per stage; the predictors' own weights are multiplied
                with it.
            kwargs: see :class:`detectron2.modeling.roi_heads.CascadeROIHeads`.

        Raises:
            ValueError: ``score_average`` is neither, or there is not one weight per stage.
        """
        super().__init__(**kwargs)
        if score_average not in ("logits", "probabilities"):
            raise ValueError(
                "score_average (MODEL.SCNET.SCORE_AVERAGE) must be 'logits' or 'probabilities', "
                f"not '{score_average}'."
            )
        if len(stage_loss_weights) != self.num_cascade_stages:
            raise ValueError(
                f"stage_loss_weights (MODEL.SCNET.STAGE_LOSS_WEIGHTS) has "
                f"{len(stage_loss_weights)} values for {self.num_cascade_stages} stages "
                "(MODEL.ROI_BOX_CASCADE_HEAD.IOUS)."
            )
        self.resample = resample
        self.score_average = score_average
        for predictor, weight in zip(self.box_predictor, stage_loss_weights):
            predictor.loss_weight = {
                loss: weight * predictor.loss_weight.get(loss, 1.0)
                for loss in ("loss_cls", "loss_box_reg")
            }
        self.samplers = [self._build_sampler(k) for k in range(self.num_cascade_stages)]

    @classmethod
    def from_config(cls, cfg, input_shape):
        check_stages(cfg)
        ret = super().from_config(cfg, input_shape)
        ret["resample"] = cfg.MODEL.SCNET.RESAMPLE
        ret["score_average"] = cfg.MODEL.SCNET.SCORE_AVERAGE
        ret["stage_loss_weights"] = cfg.MODEL.SCNET.STAGE_LOSS_WEIGHTS
        return ret

    @classmethod
    def _init_box_head(cls, cfg, input_shape):
        ret = super()._init_box_head(cfg, input_shape)
        for predictor in ret["box_predictors"]:
            weights = predictor.box2box_transform.weights
            predictor.box2box_transform = ClampedBox2BoxTransform(weights)
        return ret

    def _build_sampler(self, stage: int) -> ROIHeads:
        """Detectron2's labelling and sampling with the IoU threshold of one stage."""
        sample = self.resample or stage == 0
        return ROIHeads(
            num_classes=self.num_classes,
            batch_size_per_image=self.batch_size_per_image if sample else sys.maxsize,
            positive_fraction=self.positive_fraction if sample else 1.0,
            proposal_matcher=self.proposal_matchers[stage],
            proposal_append_gt=self.proposal_append_gt and sample,
        )

    def run_cascade(
        self,
        features: Dict[str, Tensor],
        proposals: List[Instances],
        targets: Optional[List[Instances]] = None,
    ) -> List[Stage]:
        """Run all box stages.

        Args:
            features: maps by name.
            proposals: per image, those of the RPN.
            targets: per image, the ground truth; in training only.

        Returns:
            the stages, in order.
        """
        maps = [features[name] for name in self.box_in_features]
        image_sizes = [p.image_size for p in proposals]
        if torch.jit.is_tracing():
            proposals = [at_least_one(p) for p in proposals]
        boxes = [p.proposal_boxes.tensor for p in proposals]
        stages = []
        for k in range(self.num_cascade_stages):
            proposals = self._create_proposals_from_boxes(boxes, image_sizes)
            if self.training:
                assert targets is not None, "training needs the ground truth"
                with get_event_storage().name_scope(f"stage{k}"):
                    proposals = self.sample(proposals, targets, k)
            box_features = self.run_box_head(maps, [p.proposal_boxes for p in proposals], k)
            predictions = self.box_predictor[k](box_features)
            boxes = self.box_predictor[k].predict_boxes(predictions, proposals)
            if self.training and self.resample:
                # Boxes without area do not go on. To select the others here, the host would wait.
                boxes = [b.masked_fill(p.is_gt[:, None], 0) for b, p in zip(boxes, proposals)]
            stages.append(Stage(proposals, box_features, predictions, boxes))
        return stages

    def sample(
        self, proposals: List[Instances], targets: List[Instances], stage: int
    ) -> List[Instances]:
        """Label boxes by the IoU threshold of a stage, and draw that stage's sample of them.

        Args:
            proposals: per image, with ``proposal_boxes``; changed in place.
            targets: per image, the ground truth.

        Returns:
            per image, the proposals of a :class:`Stage`.
        """
        for p in proposals:
            boxes = p.proposal_boxes.tensor
            p.objectness_logits = boxes.new_zeros(len(p))
            p.is_gt = torch.zeros(len(p), dtype=torch.bool, device=boxes.device)
        targets = [_sampling_targets(t) for t in targets]
        return self.samplers[stage].label_and_sample_proposals(proposals, targets)

    def run_box_head(self, maps: List[Tensor], boxes: List[Boxes], stage: int) -> Tensor:
        """The vectors (R, D) that the box head of a stage makes of boxes, given per image."""
        return self.box_head[stage](self.box_pooler(maps, boxes))

    def box_losses(self, stages: List[Stage]) -> Losses:
        """``loss_cls_stage{t}`` and ``loss_box_reg_stage{t}``, weighted by alpha (Eq. 3)."""
        losses = Losses()
        for k, stage in enumerate(stages):
            with get_event_storage().name_scope(f"stage{k}"):
                stage_losses = self.box_predictor[k].losses(stage.predictions, stage.proposals)
            for name, loss in stage_losses.items():
                losses.add(f"{name}_stage{k}", loss, len(stage.box_features))
        return losses

    def box_predictions(self, stages: List[Stage]) -> Tuple[List[Tensor], List[Tensor]]:
        """What the cascade says of each proposal: boxes of the last stage, scores averaged over
        all (Sec. 5.1).

        Returns:
            per image, boxes (R_i, 4) and probabilities (R_i, K + 1), the background last.
        """
        predictor, last = self.box_predictor[-1], stages[-1]
        if self.score_average == "logits":
            logits = torch.stack([stage.predictions[0].float() for stage in stages]).mean(dim=0)
            scores = predictor.predict_probs((logits, None), last.proposals)
        else:
            per_stage = [predictor.predict_probs(s.predictions, s.proposals) for s in stages]
            scores = [torch.stack(per_image).float().mean(dim=0) for per_image in zip(*per_stage)]
        return last.refined, scores

    def box_inference(self, stages: List[Stage]) -> List[Instances]:
        """The detections.

        Returns:
            per image, Instances with ``pred_boxes``, ``scores`` and ``pred_classes``, after
            non-maximum suppression.
        """
        boxes, scores = self.box_predictions(stages)
        image_sizes = [p.image_size for p in stages[-1].proposals]
        return self.suppress(boxes, scores, image_sizes)

    def suppress(
        self, boxes: List[Tensor], scores: List[Tensor], image_sizes: List[Tuple[int, int]]
    ) -> List[Instances]:
        """Score threshold and non-maximum suppression.

        Args:
            boxes, scores: see :meth:`box_predictions`.
            image_sizes: height and width per image; boxes are clipped to it.

        Returns:
            as :meth:`box_inference`.
        """
        predictor = self.box_predictor[-1]
        limits = (
            predictor.test_score_thresh,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )
        if torch.jit.is_tracing():
            images = zip(boxes, scores, image_sizes)
            found = [traceable_fast_rcnn_inference(*image, *limits) for image in images]
            return [at_least_one(each) for each in found]
        instances, _ = fast_rcnn_inference(boxes, scores, image_sizes, *limits)
        return instances


def check_stages(cfg: CfgNode) -> None:
    """Refuse keys that Detectron2's cascade ignores, or only asserts without naming them.

    Raises:
        ValueError: see above.
    """
    cascade = cfg.MODEL.ROI_BOX_CASCADE_HEAD
    if len(cascade.BBOX_REG_WEIGHTS) != len(cascade.IOUS):
        raise ValueError(
            f"MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS is for {len(cascade.BBOX_REG_WEIGHTS)} "
            f"stages, but MODEL.ROI_BOX_CASCADE_HEAD.IOUS has {len(cascade.IOUS)}."
        )
    require_keys(
        cfg,
        {
            "MODEL.ROI_HEADS.IOU_THRESHOLDS": (
                [cascade.IOUS[0]],
                "MODEL.ROI_BOX_CASCADE_HEAD.IOUS says which boxes are objects",
            ),
            "MODEL.ROI_HEADS.IOU_LABELS": ([0, 1], "a box is either background or an object"),
            "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": (
                (10.0, 10.0, 5.0, 5.0),
                "each stage has its own in MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS",
            ),
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": (
                True,
                "a stage hands one box per region to the next, not one per class",
            ),
            "MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES": (
                False,
                "MODEL.SCNET.MASK_BRANCH says which boxes the masks train on",
            ),
        },
    )


def _sampling_targets(targets: Instances) -> Instances:
    """What sampling copies to each RoI: a shallow copy of the ground truth of one image, its
    masks by reference, and the mark that tells appended ground truth from proposals."""
    fields = dict(targets.get_fields())
    index = torch.arange(len(targets), device=targets.gt_boxes.device)
    if "gt_masks" in fields:
        fields["gt_masks"] = MatchedMasks(fields["gt_masks"], index)
    return Instances(targets.image_size, **fields, is_gt=torch.ones_like(index, dtype=torch.bool))
