import torch
from detectron2.structures import Boxes, Instances

from scnet.export import Deviation, compare


def some_instances(count=20):
    corners = torch.rand(count, 2) * 50
    instances = Instances((100, 100), pred_boxes=Boxes(torch.cat([corners, corners + 20], dim=1)))
    instances.scores = torch.rand(count)
    instances.pred_classes = torch.randint(0, 3, (count,))
    instances.pred_masks = torch.rand(count, 100, 100) > 0.5
    return instances


def changed(instances, **fields):
    return Instances(instances.image_size, **{**instances.get_fields(), **fields})


def test_the_order_does_not_matter():
    a = some_instances()
    assert compare(a, a[torch.randperm(20)]) == Deviation(20, 0, 0.0, 0.0, 0.0)


def test_what_deviates_is_measured():
    a = some_instances()
    b = changed(
        a,
        pred_boxes=Boxes(a.pred_boxes.tensor + torch.tensor([0, 0, -0.5, 0])),
        scores=a.scores - torch.arange(20) / 1000,
    )
    mask = a.pred_masks.clone()
    mask[3, :10] ^= True
    b.pred_masks = mask
    found = compare(a, b)
    assert found.unmatched == 0
    assert abs(found.box - 0.5) < 1e-4 and abs(found.score - 0.019) < 1e-6
    assert abs(found.mask - 1000 / a.pred_masks.sum().item()) < 1e-6


def test_what_has_no_counterpart_is_counted():
    a = some_instances()
    assert compare(a, a[:17]).unmatched == compare(a[:17], a).unmatched == 3
    assert compare(a, a[:0]) == compare(a[:0], a) == Deviation(20, 20)
    assert compare(a[:0], a[:0]) == Deviation(0, 0)
    assert compare(a, changed(a, pred_classes=a.pred_classes + 3)).unmatched == 20
    assert compare(a, changed(a, pred_boxes=Boxes(a.pred_boxes.tensor + 3))).unmatched == 20
    # A detection that is there twice has one counterpart.
    assert compare(a[:1], Instances.cat([a[:1], a[:1]])).unmatched == 1


def test_what_is_large():
    assert not Deviation(100, 5, 0.01, 0.001, 0.001).is_large()
    assert not Deviation(3, 1).is_large()
    assert Deviation(1, 1).is_large()
    for large in (
        Deviation(100, 6),
        Deviation(3, 2),
        Deviation(100, 0, box=0.2),
        Deviation(100, 0, score=0.02),
        Deviation(100, 0, mask=0.02),
    ):
        assert large.is_large()
