"""The whole model: every combination of its parts, and every way in which a batch can be empty."""

import itertools

import pytest
import torch

from helpers import detect, set_mask_branch, training_step

MASK_HEADS = {
    "sample_consistency": 1,
    "naive_sample_consistency": 3,
    "per_stage": 3,
    "interleaved": 3,
}
PARTS = {
    "relay": "MODEL.SCNET.FEATURE_RELAY",
    "context": "MODEL.SCNET.GLOBAL_CONTEXT.ENABLED",
    "semantic": "MODEL.SCNET.SEMANTIC.SOURCE",
}


@pytest.mark.parametrize("on", itertools.product([True, False], repeat=3))
@pytest.mark.parametrize("mask_branch", MASK_HEADS)
def test_every_combination_trains_and_tests(tiny_cfg, make_model, make_batch, mask_branch, on):
    switches = dict(zip(PARTS, on))
    set_mask_branch(tiny_cfg, mask_branch)
    values = {**switches, "semantic": "instances" if switches["semantic"] else "none"}
    tiny_cfg.merge_from_list([x for part, key in PARTS.items() for x in (key, values[part])])
    if mask_branch == "interleaved" and switches["relay"]:
        with pytest.raises(ValueError, match="FEATURE_RELAY False"):
            make_model(tiny_cfg)
        return
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[0, 1], [4]])
    losses = training_step(model, batch)

    expected = {"loss_rpn_cls", "loss_rpn_loc"}
    expected |= {f"loss_{kind}_stage{k}" for kind in ("cls", "box_reg") for k in range(3)}
    heads = MASK_HEADS[mask_branch]
    expected |= {"loss_mask"} if heads == 1 else {f"loss_mask_stage{k}" for k in range(heads)}
    expected |= {"loss_sem_seg"} if switches["semantic"] else set()
    expected |= {"loss_global_context"} if switches["context"] else set()
    assert set(losses) == expected

    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert ("semantic_head" in names) == switches["semantic"]
    assert ("global_context_head" in names) == switches["context"]
    relays = [n for n, _ in model.named_parameters() if ".relays." in n]
    assert len(relays) == switches["relay"] * heads * 2

    for instances, x in zip(detect(model, batch), batch):
        assert instances.pred_masks.shape[1:] == (x["height"], x["width"])


@pytest.mark.parametrize("mask_branch", MASK_HEADS)
@pytest.mark.parametrize("classes", [[[], [2]], [[], []]])
def test_images_without_objects(tiny_cfg, make_model, make_batch, classes, mask_branch):
    set_mask_branch(tiny_cfg, mask_branch)
    losses = training_step(make_model(tiny_cfg), make_batch(tiny_cfg, classes))
    if classes == [[], []]:
        masks = [loss for name, loss in losses.items() if name.startswith("loss_mask")]
        assert all(loss == 0 for loss in masks)
        assert losses["loss_box_reg_stage0"] == 0


def test_images_without_objects_as_detectron2s_mapper_gives_them(tiny_cfg, make_model, make_batch):
    batch = make_batch(tiny_cfg, [[], [1]])
    batch[0]["instances"].remove("gt_masks")  # it has no masks to make a field of
    training_step(make_model(tiny_cfg), batch)


def test_semantic_maps_may_have_the_size_of_the_image_or_the_stride_of_the_head(
    tiny_cfg, make_model, make_batch
):
    """Also where the images of a batch have different sizes, that are no multiples of it."""
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[0], [1]])
    for x, size in zip(batch, [(61, 75), (64, 80)]):
        x["image"] = torch.rand(3, *size)
        x["sem_seg"] = torch.randint(0, 9, size)
        x["sem_seg"][::8, ::8][0] = 255
    head, logits = model.semantic_head, torch.zeros(2, 9, 8, 12)
    whole = head.targets(batch, logits)
    assert whole.shape == (2, 8, 12) and whole.dtype == torch.int64
    assert torch.equal(whole[0, :8, :10], batch[0]["sem_seg"][::8, ::8])
    assert (whole[:, :, 10:] == 255).all()
    for x in batch:
        x["sem_seg"] = x["sem_seg"][::8, ::8].to(torch.uint8)
    assert torch.equal(head.targets(batch, logits), whole)
    batch[1]["sem_seg"] = batch[1]["sem_seg"][1:]
    with pytest.raises(ValueError, match=r"\(7, 10\), but the image has \(64, 80\).*COMMON_STRIDE"):
        head.targets(batch, logits)


def test_no_positives_at_any_stage(tiny_cfg, make_model, make_batch):
    tiny_cfg.MODEL.ROI_HEADS.PROPOSAL_APPEND_GT = False
    tiny_cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS = (0.999, 0.999, 0.999)
    tiny_cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS = [0.999]
    losses = training_step(make_model(tiny_cfg), make_batch(tiny_cfg, [[1], [2, 3]]))
    assert losses["loss_mask"] == 0


def test_a_semantic_map_that_is_all_ignored(tiny_cfg, make_model, make_batch):
    batch = make_batch(tiny_cfg, [[1], [2]])
    for x in batch:
        x["sem_seg"][:] = 255
    assert training_step(make_model(tiny_cfg), batch)["loss_sem_seg"] == 0


def test_padding_of_the_semantic_map_is_ignored(tiny_cfg, make_model, make_batch):
    """The loss of a batch is that of its images alone, weighted by their labelled pixels."""
    model = make_model(tiny_cfg).train()
    batch = make_batch(tiny_cfg, [[1], [1]])
    targets = model.semantic_head.targets(batch, torch.zeros(2, 9, 8, 12))
    assert targets.shape == (2, 8, 12)
    assert (targets != 255).sum() == 8 * 10 + 7 * 8


def test_no_detections(tiny_cfg, make_model, make_batch):
    tiny_cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 1.0
    for instances in detect(make_model(tiny_cfg), make_batch(tiny_cfg, [[1], []])):
        assert len(instances) == 0
        assert instances.pred_masks.shape[0] == 0


def test_mask_rcnn_is_a_cascade_of_one_stage(tiny_cfg, make_model, make_batch):
    tiny_cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS = (0.5,)
    tiny_cfg.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS = ((10.0, 10.0, 5.0, 5.0),)
    tiny_cfg.MODEL.SCNET.STAGE_LOSS_WEIGHTS = (1.0,)
    set_mask_branch(tiny_cfg, "per_stage")
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[0, 1], [4]])
    losses = training_step(model, batch)
    assert {"loss_cls_stage0", "loss_mask"} < set(losses) and "loss_cls_stage1" not in losses
    assert all(len(instances) for instances in detect(model, batch))


def test_no_proposals(tiny_cfg, make_model, make_batch):
    tiny_cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = tiny_cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 0
    model = make_model(tiny_cfg)
    batch = make_batch(tiny_cfg, [[], []])
    training_step(model, batch)
    assert [len(instances) for instances in detect(model, batch)] == [0, 0]


def test_boxes_only(tiny_cfg, make_model, make_batch):
    tiny_cfg.MODEL.MASK_ON = False
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[1], [2]])
    for x in batch:
        x["instances"].remove("gt_masks")
    assert not any(name.startswith("loss_mask") for name in training_step(model, batch))
    assert not detect(model, batch)[0].has("pred_masks")


def test_a_missing_semantic_map_names_the_image(tiny_cfg, make_model, make_batch):
    model, batch = make_model(tiny_cfg).train(), make_batch(tiny_cfg, [[1], [2]])
    del batch[1]["sem_seg"]
    with pytest.raises(KeyError, match="image1.png has no semantic map"):
        model(batch)


def test_an_image_alone_and_in_a_batch_of_its_size(tiny_cfg, make_model, make_batch):
    model = make_model(tiny_cfg)
    batch = make_batch(tiny_cfg, [[1], [2]], sizes=[(64, 64), (64, 64)])
    together, alone = detect(model, batch), detect(model, batch[1:])
    torch.testing.assert_close(
        together[1].pred_boxes.tensor, alone[0].pred_boxes.tensor, atol=1e-3, rtol=1e-4
    )


def test_given_boxes_get_the_masks_of_detection(tiny_cfg, make_model, make_batch):
    """What test-time augmentation relies on: detection, then masks for boxes from outside."""
    model = make_model(tiny_cfg).eval()
    batch = make_batch(tiny_cfg, [[1], [2]])
    with torch.no_grad():
        detected = model.inference(batch, do_postprocess=False)
        masks = [i.pred_masks for i in detected]
        for i in detected:
            i.remove("pred_masks")
        again = model.inference(batch, detected_instances=detected, do_postprocess=False)
    for one, other in zip(masks, again):
        torch.testing.assert_close(one, other.pred_masks)


@pytest.mark.parametrize("freeze", [True, False])
def test_batch_norm_statistics(tiny_cfg, make_model, make_batch, freeze):
    tiny_cfg.MODEL.SCNET.FREEZE_BN_STATISTICS = freeze
    tiny_cfg.MODEL.FPN.NORM = ""
    model = make_model(tiny_cfg)
    norm = model.backbone.bottom_up.res3[0].conv1.norm
    before = norm.running_mean.clone()
    training_step(model, make_batch(tiny_cfg, [[1], [2]]))
    assert torch.equal(norm.running_mean, before) == freeze
    assert norm.weight.grad is not None  # gamma trains in both cases
