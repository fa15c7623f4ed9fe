"""From a data set dict to the model's input: image, instances and semantic map together."""

import copy
from typing import Dict

import numpy as np
import torch
from detectron2.config import configurable
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError


class SCNetDatasetMapper(DatasetMapper):
    """Detectron2's mapper, with checked semantic maps and images that may be empty.

    The image, its instances and its semantic map go through the same transforms.
    """

    @configurable
    def __init__(
        self, is_train: bool, *, semantic: bool, num_semantic_classes: int, ignore_value: int, **kw
    ):
        """
        Args:
            is_train: semantic maps and annotations are read in training only.
            semantic: whether to read semantic maps.
            num_semantic_classes, ignore_value: the values that a map may have.
            kw: see :class:`detectron2.data.DatasetMapper`.
        """
        super().__init__(is_train, **kw)
        self.semantic = semantic
        self.num_semantic_classes = num_semantic_classes
        self.ignore_value = ignore_value

    @classmethod
    def from_config(cls, cfg, is_train: bool = True):
        ret = super().from_config(cfg, is_train)
        ret["semantic"] = cfg.MODEL.SCNET.SEMANTIC.ENABLED
        ret["num_semantic_classes"] = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        ret["ignore_value"] = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        return ret

    def __call__(self, dataset_dict: Dict) -> Dict:
        """
        Args:
            dataset_dict: one image in Detectron2's format.

        Returns:
            the same with "image" (3, h, w) and, in training, "instances" and "sem_seg" (h, w).

        Raises:
            KeyError: the semantic branch is on, and the image has no ``sem_seg_file_name``.
            ValueError: the semantic map has more than one channel, another size than the image,
                or values that are no class; or an object has no mask.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        sem_seg_file = dataset_dict.pop("sem_seg_file_name", None)
        if not (self.is_train and self.semantic):
            return super().__call__(dataset_dict)

        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(dataset_dict, image)
        if sem_seg_file is None:
            raise KeyError(
                f"{dataset_dict['file_name']} has no semantic map ('sem_seg_file_name'), but the "
                "semantic branch is on. Register the data set with sem_seg_root, or set "
                "MODEL.SCNET.SEMANTIC.ENABLED False."
            )
        sem_seg = self.read_semantic_map(sem_seg_file, image.shape[:2])
        aug_input = T.AugInput(image, sem_seg=sem_seg)
        transforms = self.augmentations(aug_input)
        image, sem_seg = aug_input.image, aug_input.sem_seg

        dataset_dict["image"] = torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))
        dataset_dict["sem_seg"] = torch.as_tensor(sem_seg.astype("int64"))
        self._transform_annotations(dataset_dict, transforms, image.shape[:2])
        return dataset_dict

    def read_semantic_map(self, file_name: str, size) -> np.ndarray:
        """Read and check a semantic map.

        Args:
            file_name: a PNG of one channel, each pixel a class or the ignore value.
            size: height and width of the image.

        Returns:
            uint8 (H, W)

        Raises:
            ValueError: see :meth:`__call__`; the message names the file.
        """
        try:
            with PathManager.open(file_name, "rb") as f, Image.open(f) as png:
                mode, sem_seg = png.mode, np.asarray(png)
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"Cannot read semantic map '{file_name}': {error}") from error
        if mode not in ("L", "P"):  # in a palette image the indices are the classes
            raise ValueError(
                f"Semantic map '{file_name}' has mode {mode}. It must have a single channel of "
                "8 bits, in which each pixel's value is its class."
            )
        if sem_seg.shape != tuple(size):
            raise ValueError(
                f"Semantic map '{file_name}' has height and width {sem_seg.shape}, its image "
                f"{tuple(size)}."
            )
        values = np.unique(sem_seg)
        wrong = values[(values >= self.num_semantic_classes) & (values != self.ignore_value)]
        if len(wrong):
            raise ValueError(
                f"Semantic map '{file_name}' has values {wrong.tolist()}. Classes are 0 to "
                f"{self.num_semantic_classes - 1} (MODEL.SEM_SEG_HEAD.NUM_CLASSES), and "
                f"{self.ignore_value} is ignored (MODEL.SEM_SEG_HEAD.IGNORE_VALUE)."
            )
        return sem_seg

    def _transform_annotations(self, dataset_dict, transforms, image_shape) -> None:
        """Detectron2's, for images without objects too, on which its cropping fails."""
        objects = [a for a in dataset_dict["annotations"] if not a.get("iscrowd", 0)]
        if self.use_instance_mask and any("segmentation" not in a for a in objects):
            raise ValueError(
                f"{dataset_dict['file_name']} has objects without 'segmentation', but the model "
                "predicts masks. Annotate masks, or set MODEL.MASK_ON False."
            )
        if objects:
            super()._transform_annotations(dataset_dict, transforms, image_shape)
            return
        del dataset_dict["annotations"]
        instances = Instances(image_shape, gt_boxes=Boxes(torch.zeros(0, 4)))
        instances.gt_classes = torch.zeros(0, dtype=torch.int64)
        if self.use_instance_mask and self.instance_mask_format == "bitmask":
            instances.gt_masks = BitMasks(torch.zeros(0, *image_shape, dtype=torch.bool))
        elif self.use_instance_mask:
            instances.gt_masks = PolygonMasks([])
        dataset_dict["instances"] = instances
