"""Masks at the size of the image, as bitmaps or as RLE.

A bitmap takes a byte for each pixel of the image and each object: 100 objects in 48 megapixels are
4.8 GB. An RLE (COCO's run lengths) takes a few kilobytes for each object.

Shapes: R objects, M the side of the masks within boxes, (H, W) the size of the image.
"""

from typing import Dict, Union

import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances, ROIMasks
from torch import Tensor

from ..data.masks import encode

FORMATS = ("bitmap", "rle")


class RLEMasks(list):
    """The masks of objects, each ``{"size": [H, W], "counts": "..."}``.

    As ``pred_masks`` of Instances they are chosen from with the boxes and scores. pycocotools and
    Detectron2's Visualizer read them.
    """

    def __getitem__(self, item):
        """One mask by its number; several by a slice, or a tensor (R,) bool or of numbers."""
        if isinstance(item, slice):
            return RLEMasks(super().__getitem__(item))
        if isinstance(item, Tensor) and item.ndim:
            numbers = item.nonzero()[:, 0] if item.dtype == torch.bool else item
            return RLEMasks(self[k] for k in numbers.tolist())
        return super().__getitem__(item)


def resize(found: Instances, height: int, width: int) -> Instances:
    """Do what Detectron2's ``detector_postprocess`` does, but for the masks.

    Args:
        found: as the model finds it, with ``pred_masks`` (R, 1, M, M) if it predicts masks.
        height, width: of the original image.

    Returns:
        the objects in the original image, with ``mask_probabilities`` (R, M, M), each within its
        box, if the model predicts masks.
    """
    fields = dict(found.get_fields())
    if "pred_masks" in fields:
        fields["mask_probabilities"] = fields.pop("pred_masks")[:, 0]
    return detector_postprocess(Instances(found.image_size, **fields), height, width)


def paste(found: Instances, mask_format: str) -> Instances:
    """Make masks of the image of those within boxes.

    Args:
        found: of :func:`resize`.
        mask_format: "bitmap" or "rle".

    Returns:
        the objects on the CPU, with ``pred_masks``, (R, H, W) bool or :class:`RLEMasks`, in place
        of ``mask_probabilities``.
    """
    fields = dict(found.get_fields())
    probabilities = fields.pop("mask_probabilities", None)
    pasted = Instances(found.image_size, **fields)
    if probabilities is not None and mask_format == "rle":
        pasted.pred_masks = RLEMasks(
            _paste_rle(probabilities[k], found.pred_boxes.tensor[k], *found.image_size)
            for k in range(len(found))
        )
    elif probabilities is not None:
        masks = ROIMasks(probabilities).to_bitmasks(found.pred_boxes, *found.image_size)
        pasted.pred_masks = masks.tensor
    return pasted.to("cpu")


def _paste_rle(mask: Tensor, box: Tensor, height: int, width: int) -> Dict:
    """Make an RLE of a mask (M, M) within its box (4,).

    It is pasted with rows and columns exchanged, as the run lengths go down the columns.
    """
    turned = ROIMasks(mask.T[None]).to_bitmasks(Boxes(box[None, [1, 0, 3, 2]]), width, height)
    return encode(turned.tensor[0].cpu().numpy().T)


def to_rle(mask: Union[Tensor, Dict]) -> Dict:
    """Get the RLE of a mask (H, W) bool or of an RLE."""
    return mask if isinstance(mask, dict) else encode(mask.numpy())
