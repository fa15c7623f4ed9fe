import torch
from detectron2.structures import Instances

from helpers import make_instances, set_mask_branch
from scnet.modeling.mask_head import SCNetMaskHead


def make_features():
    maps = {f"p{k}": torch.randn(1, 16, 64 >> k, 96 >> k) for k in (2, 3, 4, 5)}
    context = torch.randn(1, 16, 1, 1)
    return {**maps, "semantic": torch.randn(1, 16, 8, 12), "global_context": context}


def given_boxes(count=3):
    objects = make_instances(64, 80, [0] * count)
    instances = Instances((64, 80), pred_boxes=objects.gt_boxes)
    instances.pred_classes = torch.arange(count)
    return instances


def test_relay_at_inference_comes_from_the_last_box_head_on_the_final_boxes(tiny_cfg, make_model):
    heads = make_model(tiny_cfg).roi_heads.eval()
    features, instances = make_features(), given_boxes()
    with torch.no_grad():
        out = heads.forward_with_given_boxes(features, [instances])[0].pred_masks
        maps = [features[name] for name in heads.box_in_features]
        boxes = [instances.pred_boxes]
        relay = heads.mask_branch.relays[0](heads.box_head[2](heads.box_pooler(maps, boxes)))
        logits = heads.mask_branch.heads[0].layers(heads.mask_branch.pooler(maps, boxes) + relay)
    expected = torch.stack([logits[r, r].sigmoid() for r in range(3)])
    torch.testing.assert_close(out[:, 0], expected)


def test_masks_of_a_box_do_not_depend_on_the_other_boxes(tiny_cfg, make_model):
    heads = make_model(tiny_cfg).roi_heads.eval()
    features, instances = make_features(), given_boxes()
    with torch.no_grad():
        one = heads.forward_with_given_boxes(features, [instances[1:2]])[0].pred_masks
        every = heads.forward_with_given_boxes(features, [instances])[0].pred_masks
    torch.testing.assert_close(one[0], every[1])


def test_heads_without_consistency_are_detectron2s_of_four_convolutions(tiny_cfg, make_model):
    tiny_cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 4
    set_mask_branch(tiny_cfg, "per_stage")
    heads = make_model(tiny_cfg).roi_heads.mask_branch.heads
    assert len(heads) == 3
    for head in heads:
        assert not isinstance(head, SCNetMaskHead)
        assert len(head.conv_norm_relus) == 4
