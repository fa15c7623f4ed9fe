"""Images that cannot be used: what a training and an evaluation do when they meet one.

DATALOADER.ON_BROKEN_IMAGE "stop" ends them, and "skip" lets them do without the image.
"""

from typing import Dict

import numpy as np
from detectron2.config import CfgNode

from .mapper import SCNetDatasetMapper

BROKEN = "broken_image"  # in a test input: what is wrong with its image
STOP, SKIP = "stop", "skip"
UNUSABLE = (OSError, ValueError)  # what a mapper raises for an image; the message has its name


class BrokenImageError(ValueError):
    """Images cannot be used; the message names one, and says what is wrong and what to do."""

    def __init__(self, broken: Dict[str, str]):
        """
        Args:
            broken: at least one name, and what is wrong with it.
        """
        (_, reason), *others = broken.items()
        more = f" {len(others)} more cannot be used: {names(dict(others))}." if others else ""
        super().__init__(
            f"{reason}{more} Repair the data and give the command again, for a training with "
            "--resume; or do without such images, up to one of a hundred, by "
            "DATALOADER.ON_BROKEN_IMAGE skip."
        )
        self.broken = broken

    def __reduce__(self):
        return type(self), (self.broken,)


def skips_broken_images(cfg: CfgNode) -> bool:
    """Read DATALOADER.ON_BROKEN_IMAGE.

    Raises:
        ValueError: it is neither "stop" nor "skip".
    """
    choice = cfg.DATALOADER.ON_BROKEN_IMAGE
    if choice not in (STOP, SKIP):
        raise ValueError(
            f"DATALOADER.ON_BROKEN_IMAGE is '{choice}'. It must be '{STOP}' or '{SKIP}'."
        )
    return choice == SKIP


def most_to_skip(images: int) -> int:
    """Say how many of the images of a data set may be skipped: one of a hundred, at least one."""
    return max(1, images // 100)


def names(broken: Dict[str, str]) -> str:
    """List the names of images for a sentence, not more than ten."""
    return ", ".join(f"'{name}'" for name in list(broken)[:10]) + (
        ", ..." if len(broken) > 10 else ""
    )


class EvaluationMapper(SCNetDatasetMapper):
    """Maps test images; one that cannot be used becomes a black one of its size, marked BROKEN.

    So the evaluation gets every image, and can count those without detections.
    """

    def read(self, dataset_dict: Dict) -> np.ndarray:
        try:
            return super().read(dataset_dict)
        except UNUSABLE as error:
            dataset_dict[BROKEN] = str(error)
            return self.kind.blank(dataset_dict["height"], dataset_dict["width"])
