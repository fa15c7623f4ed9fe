import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch.nn import functional as F

from helpers import make_instances, set_mask_branch
from scnet.modeling.cascade import Stage
from scnet.modeling.mask_branch import log_iou
from scnet.modeling.mask_targets import MatchedMasks

K = 5
KINDS = ["sample_consistency", "naive_sample_consistency", "per_stage", "interleaved"]


@pytest.fixture
def branch(tiny_cfg, make_model):
    def make(kind="sample_consistency", relay=True):
        set_mask_branch(tiny_cfg, kind, relay)
        return make_model(tiny_cfg).roi_heads.mask_branch

    return make


def make_features():
    maps = {f"p{k}": torch.randn(2, 16, 64 >> k, 96 >> k) for k in (2, 3, 4, 5)}
    context = torch.randn(2, 16, 1, 1)
    return {**maps, "semantic": torch.randn(2, 16, 8, 12), "global_context": context}


def make_stages(count=3):
    """Stages whose RoIs are the objects, moved, and some background; different in each stage."""
    stages = []
    for _ in range(count):
        proposals = []
        for _image in range(2):
            targets = make_instances(64, 80, [3, 1])
            index = torch.tensor([0, 1, 1, 0])
            boxes = targets.gt_boxes.tensor[index] + torch.rand(4, 4)
            p = Instances((64, 80), proposal_boxes=Boxes(boxes))
            p.gt_classes = torch.cat([targets.gt_classes[index[:3]], torch.tensor([K])])
            p.gt_boxes = targets.gt_boxes[index]
            p.gt_masks = MatchedMasks(targets.gt_masks, index)
            proposals.append(p)
        stages.append(Stage(proposals, torch.randn(8, 32), None, None))
    return stages


def reference_loss(branch, head, relay, features, stage):
    """Positive RoIs one by one: pool, add the relay, run the head, compare with the crop."""
    total, pixels, r = 0.0, 0, 0
    for image, proposals in enumerate(stage.proposals):
        for i in range(len(proposals)):
            label = proposals.gt_classes[i]
            if label < K:
                boxes = [Boxes(torch.zeros(0, 4))] * 2
                boxes[image] = proposals.proposal_boxes[i]
                x = branch.pooler([features[n] for n in branch.in_features], boxes)
                if relay is not None:
                    x = x + relay(stage.box_features[r : r + 1])
                logits = head.layers(x)[0, label]
                mask = proposals.gt_masks.masks[int(proposals.gt_masks.index[i])]
                target = mask.crop_and_resize(boxes[image].tensor, logits.shape[0])[0].float()
                total = total + F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
                pixels += target.numel()
            r += 1
    return total / pixels


@pytest.mark.parametrize("relay", [True, False])
def test_sample_consistency_trains_one_head_on_the_last_stage(branch, relay):
    branch, features, stages = branch(relay=relay), make_features(), make_stages()
    with EventStorage():
        losses = branch.losses(features, stages)
    relays = branch.relays or [None]
    expected = reference_loss(branch, branch.heads[0], relays[0], features, stages[-1])
    assert list(losses) == ["loss_mask"]
    torch.testing.assert_close(losses["loss_mask"], 1.75 * expected)  # Eq. 4


@pytest.mark.parametrize("relay", [True, False])
@pytest.mark.parametrize("kind", ["per_stage", "naive_sample_consistency"])
def test_each_head_trains_on_its_stage_or_all_on_the_last(branch, kind, relay):
    branch, features, stages = branch(kind, relay), make_features(), make_stages()
    with EventStorage():
        losses = branch.losses(features, stages)
    for k, alpha in enumerate((1.0, 0.5, 0.25)):
        one = branch.relays[k] if relay else None
        stage = stages[k if kind == "per_stage" else 2]
        expected = reference_loss(branch, branch.heads[k], one, features, stage)
        torch.testing.assert_close(losses[f"loss_mask_stage{k}"], alpha * expected)


@pytest.mark.parametrize("kind", KINDS)
def test_no_positives_reach_every_parameter(branch, kind):
    branch, stages = branch(kind), make_stages()
    for stage in stages:
        for p in stage.proposals:
            p.gt_classes[:] = K
    with EventStorage():
        losses = branch.losses(make_features(), stages)
    sum(losses.values()).backward()
    assert all(loss == 0 for loss in losses.values())
    assert all(p.grad is not None for p in branch.parameters())


@pytest.mark.parametrize("kind", ["sample_consistency", "naive_sample_consistency", "per_stage"])
def test_inference_averages_the_heads_for_the_predicted_class(branch, kind):
    branch, features = branch(kind), make_features()
    branch.eval()
    instances = []
    for count in (2, 1):
        objects = make_instances(64, 80, [0] * count)
        i = Instances((64, 80), pred_boxes=objects.gt_boxes)
        i.pred_classes = torch.arange(count) + 2
        instances.append(i)
    box_features = {stage: torch.randn(3, 32) for stage in range(3)}
    with torch.no_grad():
        x = branch.pooler(
            [features[n] for n in branch.in_features], [i.pred_boxes for i in instances]
        )
        probabilities = [
            head.layers(x + relay(box_features[stage])).sigmoid()
            for head, relay, stage in zip(branch.heads, branch.relays, branch.stages)
        ]
        out = branch.inference(features, instances, box_features)
    mean = sum(probabilities) / len(probabilities)
    torch.testing.assert_close(out[0].pred_masks[:, 0], torch.stack([mean[0, 2], mean[1, 3]]))
    torch.testing.assert_close(out[1].pred_masks[:, 0], mean[2:, 2])


def test_the_iou_of_mask_samples_is_logged():
    """A box with half of its object, one with all of it; an image without samples."""
    objects = Boxes(torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 40]]))
    boxes = Boxes(torch.tensor([[0.0, 0, 10, 5], [20, 20, 30, 40]]))
    empty = Instances((64, 80), proposal_boxes=Boxes(torch.zeros(0, 4)))
    with EventStorage() as storage:
        log_iou([empty], 1)
        assert not storage.latest()
        log_iou([Instances((64, 80), proposal_boxes=boxes, gt_boxes=objects), empty], 2)
        assert storage.latest()["stage2/mask_samples_iou"][0] == pytest.approx(0.75)
