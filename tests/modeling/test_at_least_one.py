import pytest
import torch
from detectron2.structures import Boxes, Instances

from helpers import random_boxes
from scnet.export.files import quiet_tracing
from scnet.modeling.at_least_one import at_least_one


class Pad(torch.nn.Module):
    def forward(self, boxes, labels):
        padded = at_least_one(Instances((50, 60), pred_boxes=Boxes(boxes), pred_classes=labels))
        assert padded.image_size == (50, 60)
        return padded.pred_boxes.tensor, padded.pred_classes


@pytest.mark.parametrize("count", [0, 1, 3])
def test_none_becomes_a_box_without_area(count):
    """Also in a trace, which was made with another number."""
    with quiet_tracing():
        traced = torch.jit.trace(
            Pad(), (random_boxes(2, 50, 60), torch.arange(2)), check_trace=False
        )
    boxes, labels = random_boxes(count, 50, 60), torch.arange(count)
    for pad in (Pad(), traced):
        found = pad(boxes, labels)
        assert torch.equal(found[0], boxes if count else torch.zeros(1, 4))
        assert torch.equal(found[1], labels if count else torch.tensor([0]))
