import pytest
import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

from helpers import make_instances
from scnet.modeling.cascade import Stage

SIZES = [(64, 80), (56, 64)]


@pytest.fixture
def heads(tiny_cfg, make_model):
    def make(*opts):
        tiny_cfg.merge_from_list(list(opts))
        return make_model(tiny_cfg).roi_heads

    return make


def make_features(channels=16):
    maps = {f"p{k}": torch.randn(2, channels, 64 >> k, 96 >> k) for k in (2, 3, 4, 5)}
    return {
        **maps,
        "semantic": torch.randn(2, channels, 8, 12),
        "global_context": torch.randn(2, channels, 1, 1),
    }


def make_proposals(count=30):
    proposals = []
    for height, width in SIZES:
        p = make_instances(height, width, [0] * count)
        proposals.append(
            Instances(
                (height, width), proposal_boxes=p.gt_boxes, objectness_logits=torch.zeros(count)
            )
        )
    return proposals


def run_training(heads, targets, proposals=None):
    heads.train()
    with EventStorage() as storage:
        stages = heads.run_cascade(make_features(), proposals or make_proposals(), targets)
        losses = heads.box_losses(stages)
    return stages, losses, storage


def make_targets():
    return [make_instances(*SIZES[0], [1, 4, 4]), make_instances(*SIZES[1], [2])]


def test_every_stage_labels_by_its_own_threshold(heads):
    targets = make_targets()
    stages, _, _ = run_training(heads(), targets)
    for stage, threshold in zip(stages, (0.5, 0.6, 0.7)):
        for proposals, target in zip(stage.proposals, targets):
            iou = pairwise_iou(target.gt_boxes, proposals.proposal_boxes)
            best, match = iou.max(dim=0)
            positive = proposals.gt_classes < 5
            assert torch.equal(positive, best >= threshold)
            assert torch.equal(proposals.gt_classes[positive], target.gt_classes[match][positive])
            assert torch.equal(
                proposals.gt_boxes.tensor[positive], target.gt_boxes.tensor[match][positive]
            )


def test_ground_truth_is_appended_at_every_stage_and_dropped_before_the_next(heads):
    targets = make_targets()
    roi_heads = heads("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 200)
    stages, _, _ = run_training(roi_heads, targets)
    for k, stage in enumerate(stages):
        for i, (proposals, target) in enumerate(zip(stage.proposals, targets)):
            appended = proposals.proposal_boxes.tensor[proposals.is_gt]
            assert sorted(appended.tolist()) == sorted(target.gt_boxes.tensor.tolist())
            if k:
                before = stages[k - 1].proposals[i]
                assert (~proposals.is_gt).sum() <= (~before.is_gt).sum()


def test_a_stage_pools_the_boxes_that_the_stage_before_refined(heads):
    roi_heads = heads("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 200)
    for predictor in roi_heads.box_predictor:
        torch.nn.init.normal_(predictor.bbox_pred.weight, std=0.1)
    stages, _, _ = run_training(roi_heads, make_targets())
    first, second = stages[0], stages[1]
    refined = roi_heads.box_predictor[0].predict_boxes(first.predictions, first.proposals)
    for boxes, before, after in zip(refined, first.proposals, second.proposals):
        boxes = Boxes(boxes[~before.is_gt].detach())
        boxes.clip(before.image_size)
        boxes = boxes[boxes.nonempty()]
        got = after.proposal_boxes.tensor[~after.is_gt]
        assert torch.equal(got.sort(dim=0).values, boxes.tensor.sort(dim=0).values)
        assert not got.requires_grad


def test_sampling_keeps_to_its_number_and_fraction(heads):
    targets = [make_instances(h, w, [0] * 12) for h, w in SIZES]
    stages, _, storage = run_training(heads(), targets, make_proposals(300))
    for k, stage in enumerate(stages):
        for proposals in stage.proposals:
            assert len(proposals) <= 16
            assert (proposals.gt_classes < 5).sum() <= 4
        assert f"stage{k}/roi_head/num_fg_samples" in storage.latest()


def test_without_resampling_every_stage_has_the_boxes_of_the_first(heads):
    stages, _, _ = run_training(heads("MODEL.SCNET.RESAMPLE", False), make_targets())
    for i in range(2):
        counts = [len(stage.proposals[i]) for stage in stages]
        # Only boxes that shrank to nothing may be missing, as in Detectron2.
        assert counts[0] >= counts[1] >= counts[2] > 0
        assert stages[0].proposals[i].is_gt.any()
        assert not stages[1].proposals[i].is_gt.any()
        assert stages[2].proposals[i].has("gt_masks")


def test_losses_are_the_stage_weights_times_detectron2s(heads):
    targets = make_targets()
    roi_heads = heads("MODEL.SCNET.STAGE_LOSS_WEIGHTS", "(1.0, 0.5, 0.25)")
    stages, losses, _ = run_training(roi_heads, targets)
    for k, (stage, alpha) in enumerate(zip(stages, (1.0, 0.5, 0.25))):
        labels = torch.cat([p.gt_classes for p in stage.proposals])
        cross_entropy = torch.nn.functional.cross_entropy(stage.predictions[0], labels)
        torch.testing.assert_close(losses[f"loss_cls_stage{k}"], alpha * cross_entropy)
        roi_heads.box_predictor[k].loss_weight = {}
        with EventStorage():
            plain = roi_heads.box_predictor[k].losses(stage.predictions, stage.proposals)
        torch.testing.assert_close(losses[f"loss_box_reg_stage{k}"], alpha * plain["loss_box_reg"])


def test_features_get_the_unscaled_gradient(heads):
    """Detectron2's cascade divides it by the number of stages; the authors' does not."""
    roi_heads = heads()
    roi_heads.train()
    maps = [make_features()[name].requires_grad_() for name in roi_heads.box_in_features]
    boxes = [p.proposal_boxes for p in make_proposals()]
    (got,) = torch.autograd.grad(roi_heads.run_box_head(maps, boxes, 1).sum(), maps[0])
    pooled = roi_heads.box_pooler(maps, boxes)
    (expected,) = torch.autograd.grad(roi_heads.box_head[1](pooled).sum(), maps[0])
    torch.testing.assert_close(got, expected)


def make_stage(roi_heads, logits, boxes):
    proposals = Instances((64, 80), proposal_boxes=Boxes(boxes))
    predictions = (logits, torch.zeros(len(boxes), 4))
    return Stage([proposals], torch.zeros(len(boxes), 32), predictions, [boxes])


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_scores_are_averaged_as_configured(heads, average):
    roi_heads = heads("MODEL.SCNET.SCORE_AVERAGE", average, "TEST.DETECTIONS_PER_IMAGE", 100)
    roi_heads.eval()
    boxes = torch.tensor([[0.0, 0, 10, 10], [30, 30, 50, 60]])
    logits = 3 * torch.randn(3, 2, 6)
    detections = roi_heads.box_inference([make_stage(roi_heads, x, boxes) for x in logits])[0]
    expected = torch.zeros(2, 6)
    for r in range(2):
        if average == "logits":
            expected[r] = (sum(x[r] for x in logits) / 3).exp()
            expected[r] /= expected[r].sum()
        else:
            expected[r] = sum(x[r].exp() / x[r].exp().sum() for x in logits) / 3
    for box, score, label in zip(
        detections.pred_boxes.tensor, detections.scores, detections.pred_classes
    ):
        torch.testing.assert_close(score, expected[int(box[0] > 20), label])
    assert len(detections) == (expected[:, :5] > 0.001).sum()


def test_settings_that_do_not_fit_are_refused(heads):
    with pytest.raises(ValueError, match="SCORE_AVERAGE.*'mean'"):
        heads("MODEL.SCNET.SCORE_AVERAGE", "mean")
    with pytest.raises(ValueError, match="2 values for 3 stages"):
        heads(
            *("MODEL.SCNET.SCORE_AVERAGE", "logits"),
            *("MODEL.SCNET.STAGE_LOSS_WEIGHTS", "(1.0, 0.5)"),
        )
