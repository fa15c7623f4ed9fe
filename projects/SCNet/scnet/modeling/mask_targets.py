"""Ground-truth masks of sampled RoIs, without a copy per RoI."""

from typing import Union

import torch
from detectron2.layers import ROIAlign
from detectron2.structures import BitMasks, PolygonMasks
from torch import Tensor


class MatchedMasks:
    """The masks ``masks[index]``, kept as the masks of the image and an index.

    Sampling gives each of up to 512 RoIs the mask of its object, three times per image. At
    1333x800 pixels, indexing ``BitMasks`` would copy half a gigabyte each time for the few that
    are used. ``Instances`` can hold and index this class instead.
    """

    def __init__(self, masks: Union[BitMasks, PolygonMasks], index: Tensor):
        """
        Args:
            masks: of the G objects of an image.
            index: (R,), which of them belongs to each RoI.
        """
        self.masks = masks
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item) -> "MatchedMasks":
        return MatchedMasks(self.masks, self.index[item])

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """The part of each RoI's mask that lies in its box, as in Detectron2's mask structures.

        Args:
            boxes: (R, 4), in the pixels of the masks.
            mask_size: M.

        Returns:
            bool (R, M, M)
        """
        if isinstance(self.masks, PolygonMasks):
            return self.masks[self.index].crop_and_resize(boxes, mask_size)
        masks, index = self.masks.tensor, self.index
        if len(masks) > len(index):  # a crowded image: the masks of these RoIs are fewer
            masks, index = masks[index], torch.arange(len(index), device=index.device)
        rois = torch.cat([index[:, None].to(boxes), boxes], dim=1)
        crop = ROIAlign((mask_size, mask_size), 1.0, 0, aligned=True)
        return crop(masks[:, None].float(), rois)[:, 0] >= 0.5
