"""Test-time augmentation as the SCNet authors do it: scales and flips, boxes and masks.

Shapes: R regions of one image, K foreground classes, M the side of the predicted masks. Original
coordinates are pixels of the image as it is put out.
"""

from typing import Dict, List, Sequence, Tuple

import torch
from detectron2.config import configurable
from detectron2.data.transforms import HFlipTransform, TransformList
from detectron2.modeling import DatasetMapperTTA, GeneralizedRCNNWithTTA
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import nms

from ..resizing import is_pillows, transform_image
from .context_pooler import pooling_maps


class MultiScaleFlip:
    """Detectron2's ``DatasetMapperTTA``, with a limit of the long side per scale."""

    @configurable
    def __init__(self, *, scales: Sequence[Tuple[int, int]], flip: bool):
        """
        Args:
            scales: length of the short side and largest length of the long side, in pixels.
            flip: give each image mirrored, too.

        Raises:
            ValueError: there are no scales.
        """
        if not scales:
            raise ValueError(
                "scales (TEST.AUG.MIN_SIZES) is empty. Give a length of the short side."
            )
        self.mappers = [DatasetMapperTTA([short], long, flip) for short, long in scales]

    @classmethod
    def from_config(cls, cfg):
        aug = cfg.TEST.AUG
        limits = [min(aug.MAX_SIZE, int(aug.MAX_SIZE_RATIO * size)) for size in aug.MIN_SIZES]
        return {"scales": list(zip(aug.MIN_SIZES, limits)), "flip": aug.FLIP}

    def __call__(self, dataset_dict: Dict) -> List[Dict]:
        """See :meth:`DatasetMapperTTA.__call__`."""
        pixels = dataset_dict["image"].permute(1, 2, 0).numpy()
        if is_pillows(pixels):
            return [x for mapper in self.mappers for x in mapper(dataset_dict)]
        given = {**dataset_dict, "image": dataset_dict["image"].float()}  # which it can resize
        versions = [x for mapper in self.mappers for x in mapper(given)]
        for x in versions:  # the first of their transforms leads to the image that is given
            version = transform_image(x["transforms"].transforms[1:], pixels)
            x["image"] = torch.as_tensor(version.copy()).permute(2, 0, 1)
        return versions


class SCNetWithTTA(GeneralizedRCNNWithTTA):
    """SCNet with several versions of each image.

    Detectron2 detects in each version and merges the detections. The authors let all versions
    judge the same regions:

    1. The proposals of all versions are merged by non-maximum suppression.
    2. They go through the cascade of each version; boxes and probabilities are averaged.
    3. After non-maximum suppression each version predicts the masks; they are averaged.

    Each version goes through the network alone: in a batch it would be padded, and the global
    context is an average over the padding too. A single version is plain inference.
    """

    def __init__(self, cfg, model, tta_mapper=None):
        """
        Args:
            cfg: TEST.AUG and what :class:`GeneralizedRCNNWithTTA` reads.
            model: a :class:`SCNet`, perhaps within DistributedDataParallel.
            tta_mapper: from a data set dict to its versions, each with its "transforms" (resize
                and horizontal flip); that of TEST.AUG by default.
        """
        super().__init__(cfg, model, tta_mapper or MultiScaleFlip(cfg))

    def _inference_one_image(self, input: Dict) -> Dict:
        inputs, transforms = self._get_augmented_inputs(input)
        if len(inputs) == 1 and not is_flipped(transforms[0]):
            return self.model.inference(inputs)[0]
        instances = self._merge(input, inputs, transforms)
        return {"instances": detector_postprocess(instances, *instances.image_size)}

    @torch.no_grad()
    def detect(self, input: Dict) -> Instances:
        """Find the objects in an image, with masks that are not pasted.

        Args:
            input: with "image" (3, H, W), "height" and "width".

        Returns:
            Instances with ``pred_masks`` (R, 1, M, M), probabilities within the boxes.
        """
        inputs, transforms = self._get_augmented_inputs(input)
        if len(inputs) == 1 and not is_flipped(transforms[0]):
            return self.model.inference(inputs, do_postprocess=False)[0]
        return self._merge(input, inputs, transforms)

    def _merge(
        self, input: Dict, inputs: Sequence[Dict], transforms: Sequence[TransformList]
    ) -> Instances:
        """Find the objects in the versions of an image together; see :meth:`detect`."""
        size = input["height"], input["width"]
        heads = self.model.roi_heads
        with self.model.autocast():
            features, proposals = zip(*(self._propose(x) for x in inputs))
            merged, _ = self._merge_proposals(proposals, transforms)
            boxes, scores = self._mean_boxes(features, inputs, merged, transforms)
            [instances] = heads.suppress([boxes], [scores], [size])
            if heads.mask_on:
                instances.pred_masks = self._mean_masks(features, inputs, instances, transforms)
        return instances

    def _propose(self, x: Dict) -> Tuple[Dict[str, Tensor], Instances]:
        """The features of one version, by name, and its proposals."""
        images = self.model.preprocess_image([x])
        features, _ = self.model.add_context(self.model.backbone(images.tensor))
        [proposals], _ = self.model.proposal_generator(images, features, None)
        return pooling_maps(features), proposals

    def _merge_proposals(
        self, proposals: Sequence[Instances], transforms: Sequence[TransformList]
    ) -> Tuple[Tensor, Tensor]:
        """The best of the proposals of all versions.

        Returns:
            boxes (R, 4) in original coordinates and logits (R,), the best first. R is at most
            MODEL.RPN.POST_NMS_TOPK_TEST.
        """
        rpn = self.model.proposal_generator
        boxes = torch.cat(
            [to_original(p.proposal_boxes.tensor, t) for p, t in zip(proposals, transforms)]
        )
        logits = torch.cat([p.objectness_logits for p in proposals]).float()
        keep = nms(boxes, logits, rpn.nms_thresh)[: rpn.post_nms_topk[False]]
        return boxes[keep], logits[keep]

    def _mean_boxes(
        self,
        features: Sequence[Dict[str, Tensor]],
        inputs: Sequence[Dict],
        proposals: Tensor,
        transforms: Sequence[TransformList],
    ) -> Tuple[Tensor, Tensor]:
        """What the cascades of all versions make of the same proposals.

        Args:
            proposals: (R, 4) in original coordinates.

        Returns:
            boxes (R, 4) in original coordinates and probabilities (R, K + 1), the background
            last.
        """
        heads = self.model.roi_heads
        boxes, scores = [], []
        for maps, x, t in zip(features, inputs, transforms):
            regions = Instances(x["image"].shape[1:])
            regions.proposal_boxes = to_version(proposals, t)
            [refined], [probabilities] = heads.box_predictions(heads.run_cascade(maps, [regions]))
            refined = Boxes(refined)
            refined.clip(regions.image_size)
            boxes.append(to_original(refined.tensor, t))
            scores.append(probabilities)
        return torch.stack(boxes).mean(dim=0), torch.stack(scores).mean(dim=0)

    def _mean_masks(
        self,
        features: Sequence[Dict[str, Tensor]],
        inputs: Sequence[Dict],
        instances: Instances,
        transforms: Sequence[TransformList],
    ) -> Tensor:
        """The probabilities (R, 1, M, M) of the pixels within the boxes of the instances."""
        masks = []
        for maps, x, t in zip(features, inputs, transforms):
            given = Instances(x["image"].shape[1:], pred_classes=instances.pred_classes)
            given.pred_boxes = to_version(instances.pred_boxes.tensor, t)
            [given] = self.model.roi_heads.forward_with_given_boxes(maps, [given])
            masks.append(given.pred_masks.flip(3) if is_flipped(t) else given.pred_masks)
        return torch.stack(masks).mean(dim=0)


def to_version(boxes: Tensor, transforms: TransformList) -> Boxes:
    """From original coordinates (R, 4) to those of a version of the image."""
    return Boxes(boxes.new_tensor(transforms.apply_box(boxes.cpu().numpy())))


def to_original(boxes: Tensor, transforms: TransformList) -> Tensor:
    """The reverse of :func:`to_version`: (R, 4) -> (R, 4)."""
    return boxes.new_tensor(transforms.inverse().apply_box(boxes.cpu().numpy()))


def is_flipped(transforms: TransformList) -> bool:
    """Whether left and right are exchanged."""
    return sum(isinstance(t, HFlipTransform) for t in transforms.transforms) % 2 == 1
