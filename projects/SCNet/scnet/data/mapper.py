"""Making the model's input from a data set dict: image, instances and semantic map together."""

import copy
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances, PolygonMasks
from fvcore.transforms.transform import CropTransform, Transform
from pycocotools import mask as mask_util

from ..config import MAX_PIXELS
from ..image_kind import COLOUR, ImageKind
from ..modeling.run_length_masks import RunLengthMasks
from ..resizing import transform_image
from . import semantic_targets
from .augmentation import add_augmentations
from .image import check_size, read_image
from .masks import area, to_rle, unpack_runs


class _AugInput(T.AugInput):
    """An image of any kind, and a semantic map, that augmentations transform."""

    image: np.ndarray
    sem_seg: Optional[np.ndarray]

    def transform(self, tfm: Transform) -> None:
        self.image = transform_image([tfm], self.image)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)


class SCNetDatasetMapper(DatasetMapper):
    """Maps as Detectron2's mapper does, also semantic maps, and images without objects.

    The image, its instances and its semantic map go through the same transforms.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        semantic_source: str,
        num_classes: int,
        num_semantic_classes: int,
        ignore_value: int,
        semantic_stride: int = 1,
        max_pixels: int = MAX_PIXELS,
        kind: ImageKind = COLOUR,
        **kw,
    ):
        """Keep what the config says.

        Args:
            is_train: semantic maps and annotations are read in training only.
            semantic_source: of ``semantic_targets.SOURCES``, or "auto": the maps that come with
                the data set.
            num_classes: of the things.
            num_semantic_classes, ignore_value: the values that a semantic map may have.
            semantic_stride: every so many pixels one of the semantic map is kept.
            max_pixels: that an image may have.
            kind: the channels of the images and the type of their values.
            kw: see :class:`detectron2.data.DatasetMapper`.
        """
        super().__init__(is_train, **kw)
        self.semantic_source = semantic_source
        self.num_classes = num_classes
        self.num_semantic_classes = num_semantic_classes
        self.ignore_value = ignore_value
        self.semantic_stride = semantic_stride
        self.max_pixels = max_pixels
        self.kind = kind

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> Dict[str, Any]:
        ret = super().from_config(cfg, is_train)
        if is_train:
            ret["augmentations"] = add_augmentations(cfg, ret["augmentations"])
            ret["recompute_boxes"] = cfg.MODEL.MASK_ON and (
                cfg.INPUT.CROP.ENABLED or cfg.INPUT.LARGE_SCALE_JITTER.ENABLED
            )
        ret["semantic_source"] = cfg.MODEL.SCNET.SEMANTIC.SOURCE
        ret["num_classes"] = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        ret["num_semantic_classes"] = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        ret["ignore_value"] = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        ret["semantic_stride"] = cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE
        ret["max_pixels"] = cfg.INPUT.MAX_PIXELS
        ret["kind"] = ImageKind.of(cfg)
        return ret

    def __call__(self, dataset_dict: Dict) -> Dict:
        """Read an image, and augment it together with its instances and semantic map.

        Args:
            dataset_dict: one image in Detectron2's format.

        Returns:
            the same with "image" (C, h, w) and, in training, "instances" and, with the semantic
            branch, "sem_seg", uint8 (h / semantic_stride, w / semantic_stride), rounded up. The
            masks of the instances are :class:`RunLengthMasks`, or PolygonMasks with
            INPUT.MASK_FORMAT "polygon".

        Raises:
            KeyError: the dict has no semantic map, and the semantic source needs one.
            ValueError: the image or its semantic map cannot be used; see :func:`read_image` and
                :mod:`semantic_targets`; or an object has no mask.
            SizeMismatchError: the image has another size than the data set says. It is a
                ValueError of Detectron2.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        image = self.read(dataset_dict)
        sem_seg = self.semantic_target(dataset_dict) if self.is_train else None
        aug_input = _AugInput(image, sem_seg=sem_seg)
        try:
            transforms = self.augmentations(aug_input)
        except ValueError as error:
            raise ValueError(
                f"Image '{dataset_dict['file_name']}' of height and width {image.shape[:2]} cannot "
                f"be resized for training or test: {error}. Is it too narrow?"
            ) from error
        image = aug_input.image

        dataset_dict["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if not self.is_train:
            dataset_dict.pop("annotations", None)
            return dataset_dict
        if aug_input.sem_seg is not None:
            stride = self.semantic_stride
            sem_seg = np.ascontiguousarray(aug_input.sem_seg[::stride, ::stride])
            dataset_dict["sem_seg"] = torch.as_tensor(sem_seg)
        if "annotations" in dataset_dict:
            self._transform_annotations(dataset_dict, transforms, image.shape[:2])
        return dataset_dict

    def read(self, dataset_dict: Dict) -> np.ndarray:
        """Read the image, (H, W, C) of the mapper's kind.

        Raises:
            FileNotFoundError, ValueError: see :meth:`__call__`.
        """
        name = dataset_dict["file_name"]
        image = read_image(name, self.image_format, self.max_pixels, self.kind)
        check_size(name, image.shape[:2], (dataset_dict["height"], dataset_dict["width"]))
        return image

    def semantic_target(self, dataset_dict: Dict) -> Optional[np.ndarray]:
        """Make the target of the semantic branch, uint8 (H, W); None without the branch.

        Raises:
            KeyError, ValueError: see :meth:`__call__`.
        """
        source, size = self.semantic_source, (dataset_dict["height"], dataset_dict["width"])
        if source == "none":
            return None
        if source == "instances":
            return semantic_targets.from_instances(
                dataset_dict["annotations"], size, self.num_classes, self.ignore_value
            )
        key = "pan_seg_file_name" if source == "panoptic" else "sem_seg_file_name"
        if key not in dataset_dict:
            raise KeyError(
                f"{dataset_dict['file_name']} has no semantic map ('{key}'), but "
                f"MODEL.SCNET.SEMANTIC.SOURCE is '{source}'. Register the data set with its maps, "
                "or set the source to 'instances', or to 'none', and call "
                "scnet.configure_for_datasets(cfg)."
            )
        if source == "panoptic":
            segments = dataset_dict["segments_info"]
            return semantic_targets.from_panoptic(
                dataset_dict[key], segments, size, self.ignore_value, self.max_pixels
            )
        return semantic_targets.from_stuffthingmap(
            dataset_dict[key],
            size,
            self.num_semantic_classes,
            self.ignore_value,
            self.max_pixels,
        )

    def _transform_annotations(
        self, dataset_dict: Dict, transforms: T.TransformList, image_shape: Tuple[int, int]
    ) -> None:
        """Make the instances as Detectron2 does; without objects its cropping would fail.

        Raises:
            ValueError: an object has no mask, and the model predicts masks.
        """
        objects = [a for a in dataset_dict["annotations"] if not a.get("iscrowd", 0)]
        if self.use_instance_mask and any("segmentation" not in a for a in objects):
            raise ValueError(
                f"{dataset_dict['file_name']} has objects without 'segmentation', but the model "
                "predicts masks. Annotate masks, or set MODEL.MASK_ON False."
            )
        if not objects:
            del dataset_dict["annotations"]
            dataset_dict["instances"] = self._no_instances(image_shape)
        elif self.use_instance_mask and self.instance_mask_format == "bitmask":
            if any(isinstance(t, CropTransform) for t in transforms.transforms):
                # To crop polygons takes a package that few have.
                size = dataset_dict["height"], dataset_dict["width"]
                for annotation in objects:
                    annotation["segmentation"] = to_rle(annotation["segmentation"], *size)
            del dataset_dict["annotations"]
            dataset_dict["instances"] = self._make_instances(objects, transforms, image_shape)
        else:
            super()._transform_annotations(dataset_dict, transforms, image_shape)

    def _no_instances(self, image_shape: Tuple[int, int]) -> Instances:
        instances = Instances(image_shape, gt_boxes=Boxes(torch.zeros(0, 4)))
        instances.gt_classes = torch.zeros(0, dtype=torch.int64)
        if self.use_instance_mask and self.instance_mask_format == "bitmask":
            instances.gt_masks = RunLengthMasks.from_runs([], image_shape)
        elif self.use_instance_mask:
            instances.gt_masks = PolygonMasks([])
        return instances

    def _make_instances(
        self, objects: List[Dict], transforms: T.TransformList, image_shape: Tuple[int, int]
    ) -> Instances:
        """Make the instances that Detectron2 makes, with run lengths in place of bitmaps.

        Args:
            objects: Detectron2's annotations; they are changed.
            transforms: from the image as it is on disk to that of the model.
            image_shape: height and width of the latter.
        """
        rles = []
        for annotation in objects:
            if not self.use_keypoint:
                annotation.pop("keypoints", None)
            detection_utils.transform_instance_annotations(
                annotation,
                transforms,
                image_shape,
                keypoint_hflip_indices=self.keypoint_hflip_indices,
            )
            mask = annotation.pop("segmentation")
            if isinstance(mask, np.ndarray):
                rles.append(mask_util.encode(np.asfortranarray(mask)))
            else:
                rles.append(to_rle(mask, *image_shape))
        instances = detection_utils.annotations_to_instances(objects, image_shape)
        if self.recompute_boxes:
            boxes = torch.as_tensor(np.stack([mask_util.toBbox(rle) for rle in rles]))
            boxes[:, 2:] += boxes[:, :2]
            instances.gt_boxes = Boxes(boxes.float())
        _, keep = detection_utils.filter_empty_instances(instances, return_mask=True)
        keep &= torch.tensor([area(rle) > 0 for rle in rles])
        runs = unpack_runs([rle["counts"] for rle, kept in zip(rles, keep) if kept])
        instances = instances[keep]
        instances.gt_masks = RunLengthMasks.from_runs(runs, image_shape)
        return instances
