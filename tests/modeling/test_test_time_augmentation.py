"""Test-time augmentation on tiny models; tests/parity/test_tta.py has the reference's numbers."""

import numpy as np
import pytest
import torch
from detectron2.data.transforms import HFlipTransform, ResizeTransform, TransformList
from detectron2.structures import Boxes, Instances

from helpers import CocoSet, detect, set_mask_branch
from scnet import register_coco_json
from scnet.engine import Trainer
from scnet.modeling.test_time_augmentation import MultiScaleFlip, SCNetWithTTA

MASK_BRANCHES = (
    "sample_consistency",
    "naive_sample_consistency",
    "per_stage",
    "interleaved",
    None,  # boxes only
)
SIZE = (64, 80)


@pytest.fixture
def make(tiny_cfg, make_model):
    """make(mask branch, TEST.AUG): the model, and the same with augmentation."""

    def make(mask_branch="sample_consistency", sizes=(64,), flip=False, mapper=None):
        cfg = tiny_cfg.clone()
        cfg.MODEL.MASK_ON = mask_branch is not None
        set_mask_branch(cfg, mask_branch or "sample_consistency")
        cfg.merge_from_list(["TEST.AUG.MIN_SIZES", sizes, "TEST.AUG.FLIP", flip])
        model = make_model(cfg).eval()
        return model, SCNetWithTTA(cfg, model, mapper)

    return make


@pytest.fixture
def image():
    return {"image": torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8), **sized(*SIZE)}


def sized(height, width):
    return {"height": height, "width": width}


def version(*transforms):
    """A mapper's output for the given transforms."""

    def apply(dataset_dict):
        image = dataset_dict["image"].permute(1, 2, 0).numpy()
        steps = TransformList(list(transforms))
        image = torch.as_tensor(np.ascontiguousarray(steps.apply_image(image).transpose(2, 0, 1)))
        return {**dataset_dict, "image": image, "transforms": steps}

    return apply


def mapper(*versions):
    return lambda dataset_dict: [version(dataset_dict) for version in versions]


def assert_same(one, other, **tolerance):
    """Equal detections, in whatever order."""
    first, second = one.scores.argsort(), other.scores.argsort()
    assert len(one) == len(other) > 0
    assert torch.equal(one.pred_classes[first], other.pred_classes[second])
    torch.testing.assert_close(one.scores[first], other.scores[second], **tolerance)
    torch.testing.assert_close(
        one.pred_boxes.tensor[first], other.pred_boxes.tensor[second], atol=1e-3, rtol=1e-4
    )
    if one.has("pred_masks"):
        wrong = (one.pred_masks[first] != other.pred_masks[second]).float().mean()
        assert wrong <= 1e-3  # pixels at the threshold


@pytest.mark.parametrize("mask_branch", MASK_BRANCHES)
def test_one_scale_without_flip_is_plain_inference(make, image, mask_branch):
    model, augmented = make(mask_branch, sizes=(48,))
    plain = detect(model, [version(ResizeTransform(*SIZE, 48, 60))(image)])[0]
    one = detect(augmented, [image])[0]
    assert len(one) and one.has("pred_masks") == (mask_branch is not None)
    for field, value in plain.get_fields().items():
        other = one.get(field)
        value, other = (getattr(x, "tensor", x) for x in (value, other))
        assert torch.equal(value, other), field


@pytest.mark.parametrize("mask_branch", MASK_BRANCHES)
def test_a_mirrored_image_gives_the_mirrored_result(make, image, mask_branch):
    _, augmented = make(mask_branch, sizes=(48, 64), flip=True)
    one = detect(augmented, [image])[0]
    other = detect(augmented, [{**image, "image": image["image"].flip(2)}])[0]
    boxes = other.pred_boxes.tensor
    boxes[:, [0, 2]] = SIZE[1] - boxes[:, [2, 0]]
    if mask_branch:
        other.pred_masks = other.pred_masks.flip(2)
        assert other.pred_masks.any()
    assert_same(one, other)


def test_flipping_twice_changes_nothing(make, image):
    flip = HFlipTransform(SIZE[1])
    _, once = make(mapper=mapper(version(), version()))
    _, twice = make(mapper=mapper(version(flip, flip), version(flip, flip)))
    one, other = detect(once, [image])[0], detect(twice, [image])[0]
    assert torch.equal(one.pred_masks, other.pred_masks) and one.pred_masks.any()
    assert_same(one, other)


def test_bfloat16_is_used_and_finds_about_the_same(make, image):
    model, augmented = make(sizes=(48, 64), flip=True)
    expected = detect(augmented, [image])[0]
    model.autocast_dtype = torch.bfloat16
    seen = []
    model.backbone.register_forward_hook(lambda m, args, out: seen.append(out["p2"].dtype))
    found = detect(augmented, [image])[0]
    assert seen == [torch.bfloat16] * 4
    assert found.scores.dtype == found.pred_boxes.tensor.dtype == torch.float32
    assert len(found) == len(expected)
    assert abs(found.scores.max() - expected.scores.max()) < 0.02


def test_the_order_of_the_versions_does_not_matter(make, image):
    versions = [
        version(),
        version(ResizeTransform(*SIZE, 48, 60)),
        version(ResizeTransform(*SIZE, 96, 120), HFlipTransform(120)),
    ]
    _, one = make(mapper=mapper(*versions))
    _, other = make(mapper=mapper(*versions[::-1]))
    assert_same(detect(one, [image])[0], detect(other, [image])[0])


def test_boxes_and_scores_are_means_over_the_versions(make, image):
    """By hand: a mirrored version and one of half the size judge the same two regions."""
    model, augmented = make()
    steps = [[HFlipTransform(SIZE[1])], [ResizeTransform(*SIZE, 32, 40)]]
    inputs = [version(*x)(image) for x in steps]
    proposals = torch.tensor([[8.0, 8.0, 40.0, 50.0], [30.0, 4.0, 78.0, 60.0]])
    regions = [torch.tensor([[40.0, 8.0, 72.0, 50.0], [2.0, 4.0, 50.0, 60.0]]), proposals / 2]
    with torch.no_grad():
        features = [augmented._propose(x)[0] for x in inputs]
        transforms = [x["transforms"] for x in inputs]
        boxes, scores = augmented._mean_boxes(features, inputs, proposals, transforms)
        judged = []
        for maps, x, region in zip(features, inputs, regions):
            given = Instances(x["image"].shape[1:], proposal_boxes=Boxes(region))
            stages = model.roi_heads.run_cascade(maps, [given])
            judged.append([x[0] for x in model.roi_heads.box_predictions(stages)])
    (mirrored, first), (halved, second) = judged
    mirrored = mirrored[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor(
        [80, 0, 80, 0]
    )
    expected = (mirrored + halved * 2) / 2
    assert ((expected > 0) & (expected < torch.tensor([80, 64, 80, 64]))).all()  # nothing to clip
    torch.testing.assert_close(boxes, expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(scores, (first + second) / 2)


def test_scales_have_the_authors_limit(tiny_cfg):
    tiny_cfg.merge_from_list(["TEST.AUG.MIN_SIZES", (20, 40), "TEST.AUG.FLIP", True])
    image = {"image": torch.zeros(3, 30, 90, dtype=torch.uint8), **sized(30, 90)}
    shapes = [tuple(x["image"].shape[1:]) for x in MultiScaleFlip(tiny_cfg)(image)]
    assert shapes == [(10, 30), (10, 30), (20, 60), (20, 60)]
    tiny_cfg.TEST.AUG.MAX_SIZE = 45
    shapes = [tuple(x["image"].shape[1:]) for x in MultiScaleFlip(tiny_cfg)(image)]
    assert shapes == [(10, 30), (10, 30), (15, 45), (15, 45)]


def test_no_scales_are_refused(tiny_cfg):
    tiny_cfg.TEST.AUG.MIN_SIZES = ()
    with pytest.raises(ValueError, match="TEST.AUG.MIN_SIZES. is empty"):
        MultiScaleFlip(tiny_cfg)


@pytest.mark.parametrize(
    "option", [("MODEL.RPN.POST_NMS_TOPK_TEST", 0), ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.0)]
)
def test_nothing_found(tiny_cfg, make, image, option):
    """No proposals, no detections."""
    tiny_cfg.merge_from_list(list(option))
    _, augmented = make(flip=True)
    instances = detect(augmented, [image])[0]
    assert len(instances) == 0 and instances.pred_masks.shape == (0, *SIZE)


def test_the_evaluation_gives_the_image_as_it_is_on_disk(
    tiny_cfg, make_model, monkeypatch, coco_set
):
    """Not resized twice."""
    name = coco_set.json_file.parent.name
    register_coco_json(name, str(coco_set.json_file), str(coco_set.images))
    tiny_cfg.merge_from_list(["MODEL.ROI_HEADS.NUM_CLASSES", 2, "DATALOADER.NUM_WORKERS", 0])
    tiny_cfg.DATASETS.TEST = ()
    tiny_cfg.freeze()
    shapes = []

    def test(cfg, model, *_):
        assert isinstance(model, SCNetWithTTA)
        shapes.extend(x["image"].shape[1:] for [x] in Trainer.build_test_loader(cfg, name))
        return {}

    monkeypatch.setattr(Trainer, "test", test)
    Trainer.test_with_TTA(tiny_cfg, make_model(tiny_cfg))
    assert shapes == [CocoSet.SIZE] * 3
