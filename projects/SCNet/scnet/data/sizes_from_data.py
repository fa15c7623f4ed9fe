"""The sizes of the images and of the anchors, as they follow from the objects of a data set.

An image is resized to TRAINED pixels, which a CPU can train on. If its objects become smaller than
OBJECT pixels by that, images are larger, and the training takes crops of TRAINED pixels: so much
larger that the median object has OBJECT pixels, unless a large object would no longer fit well into
a crop. The size of an object is the root of the area of its box. All of it is in pixels that the
model sees, so a data set with images and objects k times as large gets the same sizes.
"""

from math import log2, sqrt
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
from detectron2.config import CfgNode

from .datasets.catalog import summarize

TRAINED = 320**2  # pixels of an image or crop in training
TESTED = 1280**2  # pixels of an image in tests, at most
OBJECT = 64  # pixels, the size of the median object
ENLARGED = 2  # times, at most: more shows nothing new
LARGE = 90  # percent of the objects are smaller than a large one
ROOM = 2  # times the longer side of a large object is the side of a crop, at least
WORTH = 1.25  # crops are taken if images become larger by this at least
JITTER = (0.8, 1.0, 1.25)  # times the size in tests is the size in training
# What follows from the data.
KEYS = (
    "INPUT.MIN_SIZE_TRAIN",
    "INPUT.MAX_SIZE_TRAIN",
    "INPUT.CROP.ENABLED",
    "INPUT.CROP.TYPE",
    "INPUT.CROP.SIZE",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST",
    "TEST.AUG.MIN_SIZES",
    "MODEL.ANCHOR_GENERATOR.SIZES",
)


class Sizes(NamedTuple):
    """What is chosen.

    Attributes:
        seen: pixels that the median object has for the model.
        test: the short side of an image in tests, in pixels.
        train: the short side of an image or crop in training, where objects are as large as in
            tests, in pixels.
        crop: the side of a crop, in pixels of the original; 0: images are not cropped.
        ratio: of the long side of an image to its short side, at most.
        anchor: pixels, the size that the anchors are around.
    """

    seen: float
    test: float
    train: float
    crop: float
    ratio: float
    anchor: float


def choose_sizes(boxes: np.ndarray, may_crop: bool = True) -> Sizes:
    """Choose sizes by the rule at the top of this file.

    Args:
        boxes: (N, 4), an object per row: width and height of its box, and of its image, in pixels.
        may_crop: the training can take crops.
    """
    box_width, box_height, width, height = boxes.T
    sizes, short = np.sqrt(box_width * box_height), np.minimum(width, height)
    median, large = np.median(sizes), np.percentile(np.maximum(box_width, box_height), LARGE)
    pixels = np.median(width * height)
    whole = sqrt(TRAINED / pixels)
    wanted = min(OBJECT / median, sqrt(TRAINED) / (ROOM * large), sqrt(TESTED / pixels), ENLARGED)
    cropped = may_crop and wanted > WORTH * whole
    scale = wanted if cropped else min(whole, ENLARGED)
    crop = min(sqrt(TRAINED) / scale, np.median(short)) if cropped else 0.0
    # Images are resized by their short sides: the objects of small images become larger.
    test = scale * median / np.median(sizes / short)
    return Sizes(
        seen=scale * median,
        test=test,
        train=scale * crop if cropped else test,
        crop=crop,
        ratio=1.5 * np.median(np.maximum(width, height) / short),
        anchor=scale * sqrt(np.prod(np.percentile(sizes, [10, 90]))),
    )


def configure_sizes(cfg: CfgNode, keep: Sequence[str] = ()) -> List[str]:
    """Let sizes follow from the objects of DATASETS.TRAIN, if INPUT.SIZES_FROM_DATA is True.

    Args:
        cfg: is changed, see :func:`set_sizes`.
        keep: keys that the user has given; their values are not changed.

    Returns:
        what was decided, a line each.

    Raises:
        ValueError: the objects are not known: a data set has no json file in COCO's format, or
            there are none.
    """
    if not cfg.INPUT.SIZES_FROM_DATA:
        return []
    boxes = _boxes(cfg.DATASETS.TRAIN)
    given_whole = "INPUT.CROP.ENABLED" in keep and not cfg.INPUT.CROP.ENABLED
    chosen = choose_sizes(boxes, not given_whole and not cfg.INPUT.LARGE_SCALE_JITTER.ENABLED)
    median = np.median(np.sqrt(boxes[:, 0] * boxes[:, 1]))
    line = (
        f"the {len(boxes)} objects have {median:.0f} pixels (median of the roots of the areas of "
        f"their boxes), and the model is to see them with {chosen.seen:.0f}:"
    )
    values = _values(chosen, len(cfg.MODEL.RPN.IN_FEATURES))
    return [line, *set_sizes(cfg, values, keep, "by the objects")]


def set_sizes(
    cfg: CfgNode, values: Mapping[str, Any], keep: Sequence[str], reason: str
) -> List[str]:
    """Set sizes, and INPUT.SIZES_FROM_DATA to False: a saved config has the sizes themselves.

    Args:
        cfg: is changed.
        values: of some of :data:`KEYS`.
        keep: keys that stay as they are.
        reason: why a size is what it is.

    Returns:
        a line about each key, with the value that is in force.
    """
    lines = []
    for key, value in values.items():
        node, last = _find(cfg, key)
        if key not in keep:
            node[last] = value
        lines.append(f"{key} {node[last]} ({'as it was given' if key in keep else reason})")
    cfg.INPUT.SIZES_FROM_DATA = False
    return lines


def sizes_of(cfg: CfgNode) -> Dict[str, Any]:
    """The values of :data:`KEYS` in a config."""
    return {key: node[last] for key in KEYS for node, last in [_find(cfg, key)]}


def _find(cfg: CfgNode, key: str) -> Tuple[CfgNode, str]:
    """The group of a key, and its name in there."""
    *parents, last = key.split(".")
    for parent in parents:
        cfg = cfg[parent]
    return cfg, last


def _boxes(names: Sequence[str]) -> np.ndarray:
    """Collect the boxes (N, 4) of data sets, see :func:`choose_sizes`.

    Raises:
        ValueError: see :func:`configure_sizes`.
    """
    boxes = [np.zeros((0, 4))]
    for name in names:
        summary = summarize(name)
        if summary is None:
            raise ValueError(
                f"INPUT.SIZES_FROM_DATA is True, but the data set '{name}' has no json file in "
                "COCO's format that says how large its objects are. Set it to False."
            )
        boxes.append(np.array(summary.boxes).reshape(-1, 4))
    if not sum(map(len, boxes)):
        raise ValueError(
            f"INPUT.SIZES_FROM_DATA is True, but the data sets {list(names)} have no objects that "
            "could be trained on."
        )
    return np.concatenate(boxes)


def _values(chosen: Sizes, levels: int) -> Dict[str, Any]:
    """The values of KEYS, for so many levels of the pyramid; without crops none of crops."""
    train, test = (
        tuple(max(1, round(x * side)) for x in JITTER) for side in (chosen.train, chosen.test)
    )
    crop = max(1, round(chosen.crop))
    smallest = round(log2(chosen.anchor) - (levels - 1) / 2)
    values = (  # in the order of KEYS
        train,
        round(chosen.ratio * max(train)),
        bool(chosen.crop),
        "absolute",
        [crop, crop],
        test[1],
        round(chosen.ratio * test[1]),
        test,
        [[2.0 ** (smallest + k)] for k in range(levels)],
    )
    unused = () if chosen.crop else ("INPUT.CROP.TYPE", "INPUT.CROP.SIZE")
    return {key: value for key, value in zip(KEYS, values) if key not in unused}
