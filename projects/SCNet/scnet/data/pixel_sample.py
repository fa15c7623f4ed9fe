"""The pixel statistics of the training images, where no weights say what they should be."""

import logging
from itertools import chain
from typing import List, Sequence, Tuple

import numpy as np
from detectron2.config import CfgNode
from tqdm import tqdm

from ..image_kind import COLOUR, ImageKind
from ..modeling.backbone.pixel_statistics import IMAGENET, known_pixels, misfit
from .broken_images import UNUSABLE, skips_broken_images
from .datasets.loading import stream
from .image import read_image

logger = logging.getLogger(__name__)
SAMPLE = 200  # images at most
DIGITS = 6  # that are kept, as files of configs are read by people


def set_pixel_statistics(cfg: CfgNode, keep: Sequence[str] = ()) -> List[str]:
    """Set MODEL.PIXEL_MEAN and MODEL.PIXEL_STD from the images of DATASETS.TRAIN, if it is needed.

    It is for images that are no colours of 8 bits, unless the config has statistics for them. The
    deviation is such that the images vary after normalisation as those of ImageNet did for
    MODEL.WEIGHTS, if it is known how: some weights know images that are not divided by it.

    Args:
        cfg: is changed.
        keep: keys that the user has given; their values are not changed.

    Returns:
        a line about it; none if nothing is set.

    Raises:
        ValueError: a channel is the same everywhere, or no image can be read; or see
            :func:`read_image`, unless DATALOADER.ON_BROKEN_IMAGE is "skip".
        OSError: see there.
    """
    kind, keys = ImageKind.of(cfg), ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
    if kind == COLOUR or not misfit(cfg) or any(key in keep for key in keys):
        return []
    names = [record["file_name"] for record in chain.from_iterable(map(stream, cfg.DATASETS.TRAIN))]
    mean, std, count = measure(cfg, names[:: max(1, len(names) // SAMPLE)][:SAMPLE])
    known = known_pixels(cfg.MODEL.WEIGHTS)
    scale = np.mean(known.std) / np.mean(IMAGENET.std) if known else 1.0
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = _rounded(mean), _rounded(std * scale)
    return [
        f"MODEL.PIXEL_MEAN {cfg.MODEL.PIXEL_MEAN}, MODEL.PIXEL_STD {cfg.MODEL.PIXEL_STD} (measured "
        f"in {count} of {len(names)} images with {kind})"
    ]


def measure(cfg: CfgNode, file_names: Sequence[str]) -> Tuple[np.ndarray, np.ndarray, int]:
    """Measure the mean and the standard deviation of all pixels of some images.

    Args:
        cfg: says how to read them, and what to do with one that cannot be read.

    Returns:
        both, a value per channel; and the number of images.

    Raises:
        ValueError, OSError: see :func:`set_pixel_statistics`.
    """
    kind, skips = ImageKind.of(cfg), skips_broken_images(cfg)
    pixels, read = 0, 0
    mean, squares = np.zeros(kind.channels), np.zeros(kind.channels)
    for name in tqdm(file_names, "Measuring pixel values", unit="image", leave=False):
        try:
            image = read_image(name, cfg.INPUT.FORMAT, cfg.INPUT.MAX_PIXELS, kind)
        except UNUSABLE:
            if not skips:
                raise
            continue
        # Joined set by set (Chan et al. 1979): a sum of all squares would lose small deviations.
        values = image.reshape(-1, kind.channels).astype(np.float64)
        total = pixels + len(values)
        step = values.mean(axis=0) - mean
        squares += ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        squares += step**2 * (pixels * len(values) / total)
        mean += step * (len(values) / total)
        pixels, read = total, read + 1
    if not read:
        raise ValueError(f"None of {len(file_names)} images of DATASETS.TRAIN can be read.")
    std = np.sqrt(squares / pixels)
    if (std == 0).any():
        raise ValueError(
            f"Channel {int(np.argmin(std))} (from 0) has the same value in all pixels of {read} "
            "training images, so it cannot be divided by its deviation. Leave it out, or give "
            "MODEL.PIXEL_MEAN and MODEL.PIXEL_STD."
        )
    return mean, std, read


def _rounded(values: np.ndarray) -> List[float]:
    return [float(f"{x:.{DIGITS}g}") for x in values]
