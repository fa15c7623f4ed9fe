import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances, pairwise_iou
from detectron2.utils.events import EventStorage
from torch.nn import functional as F

from helpers import make_instances, set_mask_branch
from scnet.modeling.htc import HTCMaskHead
from scnet.modeling.mask_targets import MatchedMasks


@pytest.fixture
def heads(tiny_cfg, make_model):
    set_mask_branch(tiny_cfg, "interleaved")
    tiny_cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 200
    heads = make_model(tiny_cfg).roi_heads
    for predictor in heads.box_predictor:  # let the boxes move
        torch.nn.init.normal_(predictor.bbox_pred.weight, std=0.1)
    return heads


def make_features():
    maps = {f"p{k}": torch.randn(1, 16, 64 >> k, 96 >> k) for k in (2, 3, 4, 5)}
    context = torch.randn(1, 16, 1, 1)
    return {**maps, "semantic": torch.randn(1, 16, 8, 12), "global_context": context}


def slow_logits(branch, x, head):
    """Eq. 2 written out: m_t of the RoI features and of what the heads before have accumulated."""
    state = None
    for link in list(branch.heads)[: head + 1]:
        y = x
        if state is not None:
            y = x + F.conv2d(state, link.fusion.weight, link.fusion.bias).clamp(min=0)
        for conv in link.conv_norm_relus:
            y = F.conv2d(y, conv.weight, conv.bias, padding=1).clamp(min=0)
        state = y
    y = F.conv_transpose2d(state, link.deconv.weight, link.deconv.bias, stride=2).clamp(min=0)
    return F.conv2d(y, link.predictor.weight, link.predictor.bias)


def test_a_head_takes_in_the_features_of_all_heads_before(heads):
    branch, x = heads.mask_branch, torch.randn(3, 16, 14, 14)
    assert branch.heads[0].fusion is None
    for h, logits in enumerate(branch(x, {0: None, 1: None, 2: None})):
        expected = slow_logits(branch, x, h)
        assert expected.shape == (3, 5, 28, 28)
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(branch(x, {h: None}), [expected])


def test_masks_at_inference_are_the_mean_of_the_chained_heads(heads):
    heads.eval()
    features, objects = make_features(), make_instances(64, 80, [0] * 3)
    instances = Instances((64, 80), pred_boxes=objects.gt_boxes)
    instances.pred_classes = torch.tensor([4, 0, 2])
    with torch.no_grad():
        out = heads.forward_with_given_boxes(features, [instances])[0].pred_masks
        branch = heads.mask_branch
        x = branch.pooler([features[n] for n in branch.in_features], [instances.pred_boxes])
        per_head = [slow_logits(branch, x, h).sigmoid() for h in range(3)]
    mean = torch.stack(per_head).mean(dim=0)
    expected = torch.stack([mean[0, 4], mean[1, 0], mean[2, 2]])
    torch.testing.assert_close(out[:, 0], expected)


def test_masks_train_on_the_boxes_that_their_stage_refined(heads):
    """Interleaved execution: refined boxes, ground truth anew, labelled by the stage's own IoU."""
    heads.train()
    targets, boxes = make_instances(64, 80, [1, 4, 4]), make_instances(64, 80, [0] * 30).gt_boxes
    proposals = Instances((64, 80), proposal_boxes=boxes)
    with EventStorage():
        stages = heads.run_cascade(make_features(), [proposals], [targets])
        samples = heads.mask_samples(stages, [targets])
    for stage, sample, threshold in zip(stages, samples, (0.5, 0.6, 0.7)):
        (refined,), (got,) = stage.refined, sample.proposals
        refined = refined.clone()
        refined[:, 0::2].clamp_(0, 80)
        refined[:, 1::2].clamp_(0, 64)
        refined = refined[(refined[:, 2] > refined[:, 0]) & (refined[:, 3] > refined[:, 1])]
        expected = torch.cat([refined, targets.gt_boxes.tensor])
        assert sorted(got.proposal_boxes.tensor.tolist()) == sorted(expected.tolist())
        iou = pairwise_iou(targets.gt_boxes, got.proposal_boxes).max(dim=0).values
        assert torch.equal(got.gt_classes < 5, iou >= threshold)
        assert isinstance(got.gt_masks, MatchedMasks)
        before = stage.proposals[0].proposal_boxes.tensor
        assert not torch.equal(before, got.proposal_boxes.tensor)


def test_the_loss_of_a_head_reaches_the_heads_before(heads):
    branch = heads.mask_branch
    (logits,) = branch(torch.randn(2, 16, 14, 14), {2: None})
    logits.sum().backward()
    for h, head in enumerate(branch.heads):
        assert (head.mask_fcn1.weight.grad.abs() > 0).any()
        assert (head.predictor.weight.grad is not None) == (h == 2)


def test_features_are_fused_at_the_width_of_the_heads():
    shape = ShapeSpec(channels=6, height=8, width=8)
    head = HTCMaskHead(shape, num_classes=2, conv_dims=[4, 4, 5])
    features = head.features(torch.randn(1, 6, 8, 8), torch.randn(1, 4, 8, 8))
    assert features.shape == (1, 4, 8, 8)
