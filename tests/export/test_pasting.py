import torch
from detectron2.layers import paste_masks_in_image

from helpers import random_boxes
from scnet.export.pasting import paste


def test_masks_are_pasted_as_detectron2_does():
    height, width = 60, 90
    boxes = random_boxes(40, height, width)
    boxes[0] = torch.tensor([-20.0, -10.0, 30.5, 200.0])  # over the border
    boxes[1] = torch.tensor([5.2, 6.3, 5.7, 6.4])  # within a pixel
    masks = torch.rand(40, 28, 28)
    expected = paste_masks_in_image(masks, boxes, (height, width))
    found = paste(masks, boxes, (height, width))
    assert found.dtype == torch.bool and expected.sum() > 5000
    assert (expected != found).sum() <= 3  # where a probability is 0.5 but for rounding


def test_no_masks():
    assert paste(torch.rand(0, 28, 28), torch.rand(0, 4), (7, 9)).shape == (0, 7, 9)
