"""A region in place of none, for a trace.

Programs that run a trace may refuse operators on zero regions: OpenVINO stops at an average pooling
of none, and then at the next image, too. So where a trace would go on without a region, it goes on
with a box of zeros. A box without area stays one in every stage of the cascade, and such boxes are
left out of what is found.

Shapes: R regions of an image.
"""

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor


def at_least_one(instances: Instances) -> Instances:
    """The same R regions, or, if R is zero, one whose box and other fields are zeros."""
    padded = Instances(instances.image_size)
    for name, value in instances.get_fields().items():
        if isinstance(value, Boxes):
            padded.set(name, Boxes(_pad(value.tensor)))
        else:
            padded.set(name, _pad(value))
    return padded


def _pad(x: Tensor) -> Tensor:
    """(R, ...) -> (max(R, 1), ...)"""
    rows = torch.as_tensor(x.shape[0]).clamp(min=1)  # a trace would keep a number of Python
    return torch.cat([x, x.new_zeros(1, *x.shape[1:])])[:rows]
