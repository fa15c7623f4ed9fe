"""The images that pretrained weights know: the order, mean and deviation of their channels."""

import logging
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from detectron2.config import CfgNode

from ...image_kind import COLOUR, ImageKind
from .timm_names import PREFIX, known_to_timm

logger = logging.getLogger(__name__)


class Pixels(NamedTuple):
    """What weights were trained on; values per channel, of pixels from 0 to 255.

    The order is "" where it is not known.
    """

    order: str
    mean: Tuple[float, ...]
    std: Tuple[float, ...]

    @classmethod
    def of(cls, cfg: CfgNode) -> "Pixels":
        """Read those of a config."""
        return cls(cfg.INPUT.FORMAT, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))

    def __str__(self) -> str:
        mean, std = ([round(x, 3) for x in values] for values in self[1:])
        order = f"INPUT.FORMAT {self.order}, " if self.order else ""
        return f"{order}MODEL.PIXEL_MEAN {mean}, MODEL.PIXEL_STD {std}"


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


def of_timm(mean: Sequence[float], std: Sequence[float]) -> Pixels:
    """What weights of timm know, which has values from 0 to 1."""
    return Pixels("RGB", tuple(255 * x for x in mean), tuple(255 * x for x in std))


def known_pixels(weights: str) -> Optional[Pixels]:
    """Find what weights of a name were trained on; None if it is not known.

    Args:
        weights: MODEL.WEIGHTS.

    Raises:
        ValueError: they are timm's, and see :func:`known_to_timm`.
    """
    if weights.startswith(PREFIX):
        known = known_to_timm(weights)
        return of_timm(known.mean, known.std)
    return next((x for start, x in WEIGHTS.items() if weights.startswith(start)), None)


def require_pixels(weights: str, known: Pixels, given: Pixels, kind: ImageKind = COLOUR) -> None:
    """Refuse to show pretrained weights other images than they know.

    Such a model finds little, and an average of the loss does not show why. Weights for colours
    may begin the training on images of another kind, with the statistics of these.

    Args:
        weights: how an error calls them.
        known: what they were trained on.
        given: what the config has.
        kind: of the images.

    Raises:
        ValueError: INPUT.FORMAT, MODEL.PIXEL_MEAN or MODEL.PIXEL_STD is another.
    """
    same = not known.order or kind.channels == 1 or given.order == known.order
    if kind == COLOUR:
        same &= len(given.mean) == len(known.mean) and len(given.std) == len(known.std)
        same = same and np.allclose(given[1:], known[1:], atol=0.01)
    if not same:
        order = "" if known.order else "The channels may be in another order, too (INPUT.FORMAT). "
        raise ValueError(
            f"{weights} were trained on {known}; the config has {given}. {order}Set these keys to "
            "the former."
        )
    if kind == COLOUR:
        logger.info(f"{weights} were trained on what the config has: {given}.")
    else:
        logger.info(f"{weights} were trained on {known}. For {kind} the config has {given}.")


def check_pixels(cfg: CfgNode) -> None:
    """Refuse a config that does not go with its images, or with MODEL.WEIGHTS that are known.

    Raises:
        ValueError: see :func:`require_statistics` and :func:`require_pixels`.
    """
    require_statistics(cfg)
    known = known_pixels(cfg.MODEL.WEIGHTS)
    if known:
        name = f"The weights '{cfg.MODEL.WEIGHTS}' (MODEL.WEIGHTS)"
        require_pixels(name, known, Pixels.of(cfg), ImageKind.of(cfg))


def require_statistics(cfg: CfgNode) -> None:
    """Refuse pixel statistics that are those of images of another kind than the config's.

    Raises:
        ValueError: see :func:`misfit`, or a deviation is not above 0.
    """
    reason = misfit(cfg)
    if reason:
        raise ValueError(
            f"{reason}. A training computes both from its images, and its config.yaml has them: "
            "use that one, or give both keys."
        )
    if min(cfg.MODEL.PIXEL_STD) <= 0:
        raise ValueError(f"MODEL.PIXEL_STD is {cfg.MODEL.PIXEL_STD}. It must be above 0.")


def misfit(cfg: CfgNode) -> str:
    """Say why the pixel statistics of a config cannot be those of its images; "" if they can.

    They need a value per channel. For values of more than 8 bits they cannot be those of 8 bits
    that the shipped configs have: 16 bits would be far too bright, fractions nearly black.
    """
    kind, given = ImageKind.of(cfg), Pixels.of(cfg)
    for key, values in (("MEAN", given.mean), ("STD", given.std)):
        if len(values) != kind.channels:
            return (
                f"MODEL.PIXEL_{key} has {len(values)} values, but INPUT.CHANNELS is {kind.channels}"
            )
    shipped = (IMAGENET.mean, IMAGENET.mean[::-1])
    if kind.dtype != "uint8" and any(
        np.allclose(given.mean, x) for x in shipped if kind.channels == 3
    ):
        return f"MODEL.PIXEL_MEAN is {list(given.mean)}, of 8 bits, but INPUT.DTYPE is {kind.dtype}"
    return ""
