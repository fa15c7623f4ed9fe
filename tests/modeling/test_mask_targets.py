import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Instances, PolygonMasks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers import random_boxes
from scnet.modeling.mask_targets import MatchedMasks

INDEX = torch.tensor([2, 0, 2, 1])
BOXES = torch.tensor([[2.0, 3, 20, 30], [0, 0, 10, 10], [5.5, 4.2, 18.3, 33.1], [1, 1, 40, 40]])


def test_bitmasks_are_cropped_as_detectron2_crops_copies():
    masks = BitMasks(torch.rand(3, 40, 44) > 0.5)
    expected = masks[INDEX].crop_and_resize(BOXES, 28)
    out = MatchedMasks(masks, INDEX).crop_and_resize(BOXES, 28)
    assert out.dtype == torch.bool and 0 < out.float().mean() < 1
    assert torch.equal(out, expected)


def test_polygons_are_cropped_as_detectron2_crops_copies():
    square = np.array([4.0, 4, 30, 4, 30, 30, 4, 30])
    masks = PolygonMasks([[square], [square + 3], [square * 0.5]])
    expected = masks[INDEX].crop_and_resize(BOXES, 14)
    assert torch.equal(MatchedMasks(masks, INDEX).crop_and_resize(BOXES, 14), expected)


def test_instances_can_hold_and_index_them_without_copying():
    masks = BitMasks(torch.rand(3, 40, 44) > 0.5)
    instances = Instances((40, 44), gt_masks=MatchedMasks(masks, INDEX))
    part = instances[torch.tensor([True, False, True, False])].gt_masks
    assert len(part) == 2
    assert part.index.tolist() == [2, 2]
    assert part.masks is masks


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operation gives."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                self.bytes = max(self.bytes, x.numel() * x.element_size())
        return result


@pytest.mark.parametrize("objects", [1, 8, 9, 50])
def test_no_more_memory_than_detectron2_in_crowded_images(objects):
    masks, index = BitMasks(torch.rand(objects, 40, 44) > 0.5), torch.randint(0, objects, (8,))
    boxes = random_boxes(8, 40, 44)
    with LargestTensor() as theirs:
        expected = masks[index].crop_and_resize(boxes, 28)
    with LargestTensor() as ours:
        out = MatchedMasks(masks, index).crop_and_resize(boxes, 28)
    assert torch.equal(out, expected)
    assert ours.bytes <= theirs.bytes
