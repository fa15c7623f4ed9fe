"""The augmentations of the training images, as the config asks for them."""

import logging
from typing import List, Sequence

from detectron2.config import CfgNode
from detectron2.data import transforms as T

logger = logging.getLogger(__name__)


def add_augmentations(cfg: CfgNode, augmentations: Sequence[T.Augmentation]) -> List:
    """Add large-scale jitter and color jitter to Detectron2's augmentations of a training.

    Large-scale jitter (Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for
    Instance Segmentation", CVPR 2021) resizes an image to a random share of a square, and crops
    what is larger than the square. It takes the place of resizing to INPUT.MIN_SIZE_TRAIN.

    Args:
        augmentations: Detectron2's.

    Raises:
        ValueError: a value of INPUT.LARGE_SCALE_JITTER or INPUT.COLOR_JITTER cannot be, or
            INPUT.CROP is there, too.
    """
    jitter, color = cfg.INPUT.LARGE_SCALE_JITTER, cfg.INPUT.COLOR_JITTER
    augmentations = list(augmentations)
    if jitter.ENABLED:
        smallest, largest = jitter.SCALES
        if not 0 < smallest <= largest or jitter.SIZE < 1:
            raise ValueError(
                f"INPUT.LARGE_SCALE_JITTER.SCALES is {jitter.SCALES} and SIZE {jitter.SIZE}. They "
                "must be the smallest and the largest share of the size, such as (0.1, 2.0), and "
                "the side of the square in pixels."
            )
        if cfg.INPUT.CROP.ENABLED:
            raise ValueError(
                "INPUT.LARGE_SCALE_JITTER crops images itself. Set INPUT.CROP.ENABLED False."
            )
        logger.info(
            "INPUT.LARGE_SCALE_JITTER is in the place of INPUT.MIN_SIZE_TRAIN and MAX_SIZE_TRAIN."
        )
        jitters = [
            T.ResizeScale(smallest, largest, jitter.SIZE, jitter.SIZE),
            # The model pads batches; this one would pad masks with what counts as inside.
            T.FixedSizeCrop((jitter.SIZE, jitter.SIZE), pad=False),
        ]
        rest = [x for x in augmentations if not isinstance(x, T.ResizeShortestEdge)]
        augmentations = jitters + rest
    if not 0 <= color < 1:
        raise ValueError(f"INPUT.COLOR_JITTER is {color}. It must be at least 0 and less than 1.")
    if color:
        kinds = [T.RandomBrightness, T.RandomContrast]
        if cfg.INPUT.CHANNELS == 3:
            kinds.append(T.RandomSaturation)
        else:
            logger.info("INPUT.COLOR_JITTER leaves saturation: the images have not three channels.")
        augmentations += [kind(1 - color, 1 + color) for kind in kinds]
    return augmentations
