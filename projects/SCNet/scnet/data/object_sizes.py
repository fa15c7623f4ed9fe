"""The sizes of the objects as a model sees them in training and in tests, and its anchors."""

from typing import Dict, List, NamedTuple, Sequence, Union

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation
from detectron2.structures import BoxMode

from .once_per_machine import PackedList

Records = Union[Sequence[Dict], PackedList]

IMAGES = 50  # that are looked at, of a data set
TOO_FAR = 1.5  # between sizes in training and test, or objects and anchors
CUT, BEYOND = 1 / 3, 1 / 4  # shares of the objects that are worth a note


class Sizes(NamedTuple):
    """Objects as the model sees them.

    Attributes:
        sizes: (N,) in pixels, the roots of the areas of their boxes, also of what is cut off.
        left: (N,) the shares of these areas that are within the image, above 0.
    """

    sizes: np.ndarray
    left: np.ndarray


def measure(records: Records, augmentations: T.AugmentationList) -> Sizes:
    """Let augmentations change the boxes of the objects of some images, as they do in training.

    Args:
        records: a dict per image, as Detectron2 has them; images that lie evenly among them are
            looked at. None is read.
        augmentations: of a mapper. The state of NumPy's random numbers stays as it is.
    """
    state = np.random.get_state()
    np.random.seed(0)
    sizes, left = [np.zeros(0)], [np.zeros(0)]
    for index in np.unique(np.linspace(0, len(records) - 1, IMAGES).astype(int)):
        record = records[int(index)]
        boxes = [
            BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYXY_ABS)
            for x in record.get("annotations", ())
            if not x.get("iscrowd", 0)
        ]
        if not boxes:
            continue
        image = T.AugInput(np.zeros((record["height"], record["width"], 3), np.uint8))
        whole = augmentations(image).apply_box(np.array(boxes, np.float64))
        height, width = image.image.shape[:2]
        areas = _areas(whole)
        share = _areas(np.clip(whole, 0, [width, height, width, height])) / np.maximum(areas, 1e-9)
        sizes.append(np.sqrt(areas)[share > 0])
        left.append(share[share > 0])
    np.random.set_state(state)
    return Sizes(np.concatenate(sizes), np.concatenate(left))


def notes_on_sizes(cfg: CfgNode, records: Records, augmentations: T.AugmentationList) -> List[str]:
    """Compare the sizes of the objects in training with those in tests and with the anchors.

    Args:
        cfg: of a training.
        records: of a data set to train on, see :func:`measure`.
        augmentations: of the training.

    Returns:
        a sentence about each thing that will cost accuracy.
    """
    trained = measure(records, augmentations)
    tested = measure(records, T.AugmentationList(build_augmentation(cfg, is_train=False)))
    if not len(trained.sizes) or not len(tested.sizes):
        return []
    notes = []
    cut = np.mean(trained.left < 0.5)
    if cut > CUT:
        notes.append(
            f"The crops of the training leave less than half of {cut:.0%} of the objects. Crop "
            "less: INPUT.CROP.SIZE, or INPUT.CROP.ENABLED False."
        )
    sizes = [np.median(x.sizes) for x in (trained, tested)]
    if max(sizes) > TOO_FAR * min(sizes):
        notes.append(
            f"The objects have {sizes[0]:.0f} pixels in training and {sizes[1]:.0f} in tests "
            "(median of the roots of their areas). Set INPUT.MIN_SIZE_TEST or "
            "INPUT.MIN_SIZE_TRAIN so that they are alike."
        )
    anchors = np.concatenate([np.ravel(x) for x in cfg.MODEL.ANCHOR_GENERATOR.SIZES])
    for name, beyond in (
        ("smaller", trained.sizes < anchors.min() / TOO_FAR),
        ("larger", trained.sizes > anchors.max() * TOO_FAR),
    ):
        if beyond.mean() > BEYOND:
            notes.append(
                f"In training, {beyond.mean():.0%} of the objects are much {name} than the "
                f"anchors, which have {anchors.min():.0f} to {anchors.max():.0f} pixels. Change "
                "INPUT.MIN_SIZE_TRAIN or MODEL.ANCHOR_GENERATOR.SIZES."
            )
    return notes


def _areas(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) corners -> (N,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
