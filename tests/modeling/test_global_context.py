import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances

from scnet.modeling.global_context import GlobalContextHead


def make_head(loss_weight=3.0):
    return GlobalContextHead(
        {"p6": ShapeSpec(channels=4, stride=64)},
        in_feature="p6",
        num_classes=6,
        num_blocks=2,
        loss_weight=loss_weight,
    )


def targets_of(*classes_per_image):
    return [
        Instances((8, 8), gt_boxes=Boxes(torch.zeros(len(c), 4)), gt_classes=torch.tensor(c).long())
        for c in classes_per_image
    ]


def test_context_is_the_mean_over_the_map_and_feeds_the_classifier():
    head, x = make_head(), torch.randn(2, 4, 3, 5)
    logits, context = head({"p6": x, "p5": None})
    expected = head.blocks[1](head.blocks[0](x)).mean(dim=(2, 3))
    torch.testing.assert_close(context[..., 0, 0], expected)
    torch.testing.assert_close(logits, expected @ head.classifier.weight.T + head.classifier.bias)


def test_loss_is_binary_cross_entropy_over_images_and_classes():
    logits = torch.randn(2, 6)
    loss = make_head().losses(logits, targets_of([1, 1, 4], [0]))["loss_global_context"]
    total = 0.0
    for n, present in enumerate([{1, 4}, {0}]):
        for k in range(6):
            p = logits[n, k].sigmoid()
            total -= (p if k in present else 1 - p).log()
    torch.testing.assert_close(loss, 3.0 * total / 12)


def test_an_image_without_objects_has_no_class():
    logits = torch.randn(1, 6)
    loss = make_head(1.0).losses(logits, targets_of([]))["loss_global_context"]
    torch.testing.assert_close(loss, -(1 - logits.sigmoid()).log().mean())


def test_weight_zero_keeps_the_gradient_path():
    head = make_head(0.0)
    logits, _ = head({"p6": torch.randn(1, 4, 2, 2)})
    head.losses(logits, targets_of([2]))["loss_global_context"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in head.parameters())
