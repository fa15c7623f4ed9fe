"""Masks of the objects of an image as run lengths, on their way from the loader to the model.

A bitmap takes a byte per object and pixel, which the loader's processes would hand on and a GPU
would wait for. Run lengths take a few kilobytes per image; the model makes bitmaps of them.

Shapes: G objects, (H, W) the size of the image in pixels.
"""

from typing import Sequence, Tuple, Union

import numpy as np
import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor


class RunLengthMasks:
    """The masks of G objects, as the places where they change between outside and inside.

    ``Instances`` can hold and index it, and take it to another device.
    """

    def __init__(self, changes: Tensor, count: int, size: Tuple[int, int]):
        """
        Args:
            changes: int64, indices of pixels in the masks (G, W, H), column after column as in
                COCO's RLE, before which the mask changes. Each mask starts outside.
            count: G.
            size: (H, W).
        """
        self.changes = changes
        self.count = count
        self.size = size

    @classmethod
    def from_runs(cls, runs: Sequence[np.ndarray], size: Tuple[int, int]) -> "RunLengthMasks":
        """Take the run lengths of COCO's RLE.

        Args:
            runs: per object, the lengths of its runs, first one of pixels outside.
            size: (H, W).
        """
        pixels, changes = size[0] * size[1], [np.zeros(0, np.int64)]
        for k, lengths in enumerate(runs):
            ends = np.cumsum(lengths)
            changes.append(k * pixels + ends[ends < pixels])  # at its end the next mask starts
        return cls(torch.as_tensor(np.concatenate(changes)), len(runs), size)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: Union[int, slice, Tensor]) -> "RunLengthMasks":
        """Choose objects; ``item`` as for a tensor of one dimension."""
        chosen = torch.arange(self.count, device=self.changes.device)[item].flatten().tolist()
        pixels = self.size[0] * self.size[1]
        objects = self.changes // pixels
        parts = [self.changes[objects == k] + (n - k) * pixels for n, k in enumerate(chosen)]
        return RunLengthMasks(torch.cat([self.changes[:0], *parts]), len(chosen), self.size)

    def to(self, *args, **kwargs) -> "RunLengthMasks":
        """Take it to another device; arguments as of :meth:`torch.Tensor.to`."""
        return RunLengthMasks(self.changes.to(*args, **kwargs), self.count, self.size)

    def bitmaps(self) -> BitMasks:
        """Make bitmaps, bool (G, H, W), which take no more memory on the way."""
        height, width = self.size
        inside = self.changes.new_zeros(self.count * width * height, dtype=torch.int8)
        # Runs of no length change the mask twice at one place, which is not at all.
        inside.index_add_(0, self.changes, torch.ones_like(self.changes, dtype=torch.int8))
        inside = inside.view(self.count, width * height).cumsum_(1)  # odd is inside
        bitmaps = inside.bitwise_and_(1).view(torch.bool)
        return BitMasks(bitmaps.view(self.count, width, height).transpose(1, 2))


def with_bitmaps(instances: Instances) -> Instances:
    """Make bitmaps of the masks of instances that have run lengths; the instances are changed."""
    if instances.has("gt_masks") and isinstance(instances.gt_masks, RunLengthMasks):
        instances.gt_masks = instances.gt_masks.bitmaps()
    return instances
