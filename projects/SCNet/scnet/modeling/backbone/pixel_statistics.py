"""The images that pretrained weights know: the order, mean and deviation of their channels."""

import logging
from typing import Dict, NamedTuple, Tuple

import numpy as np
from detectron2.config import CfgNode

logger = logging.getLogger(__name__)


class Pixels(NamedTuple):
    """What weights were trained on; values per channel, of pixels from 0 to 255."""

    order: str
    mean: Tuple[float, ...]
    std: Tuple[float, ...]


IMAGENET = Pixels("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
ZOO = "detectron2://ImageNetPretrained/"

# How the MODEL.WEIGHTS of a backbone begin -> what they were trained on.
WEIGHTS: Dict[str, Pixels] = {
    f"{ZOO}MSRA/": Pixels("BGR", IMAGENET.mean[::-1], (1.0, 1.0, 1.0)),
    f"{ZOO}FAIR/X-101-32x8d": Pixels("BGR", IMAGENET.mean[::-1], IMAGENET.std[::-1]),
    f"{ZOO}torchvision/": IMAGENET,
    f"{ZOO}MAE/": IMAGENET,
    f"{ZOO}mvitv2/": IMAGENET,
    f"{ZOO}swin/": IMAGENET,
    "https://github.com/SwinTransformer/": IMAGENET,
    "torchvision://": IMAGENET,
}


def require_pixels(cfg: CfgNode, pixels: Pixels, weights: str) -> None:
    """Refuse a config that shows pretrained weights other images than they know.

    Args:
        weights: how an error calls them.

    Raises:
        ValueError: INPUT.FORMAT, MODEL.PIXEL_MEAN or MODEL.PIXEL_STD is another.
    """
    given = Pixels(cfg.INPUT.FORMAT, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))
    same = given.order == pixels.order and len(given.mean) == len(pixels.mean)
    if not same or not np.allclose(given[1:], pixels[1:], atol=0.01):
        raise ValueError(
            f"{weights} were trained on {_keys(pixels)}; the config has {_keys(given)}. Set these "
            "three keys to the former."
        )
    logger.info(f"{weights} were trained on what the config has: {_keys(given)}.")


def check_pixels(cfg: CfgNode) -> None:
    """Refuse a config that does not go with its MODEL.WEIGHTS, where it is known what does.

    Raises:
        ValueError: see :func:`require_pixels`.
    """
    for start, pixels in WEIGHTS.items():
        if cfg.MODEL.WEIGHTS.startswith(start):
            require_pixels(cfg, pixels, f"The weights '{cfg.MODEL.WEIGHTS}' (MODEL.WEIGHTS)")


def _keys(pixels: Pixels) -> str:
    mean, std = ([round(x, 3) for x in values] for values in pixels[1:])
    return f"INPUT.FORMAT {pixels.order}, MODEL.PIXEL_MEAN {mean}, MODEL.PIXEL_STD {std}"
