"""Reading images, with errors that name the file."""

from typing import Optional, Tuple

import numpy as np
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from PIL import Image, UnidentifiedImageError

EXIF_ORIENTATION = 0x0112

# Pillow clips their values to 255 without a word when it makes them RGB.
DEEP_MODES = ("I", "F")

# Pillow has all of these for broken files, and not always with the name.
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def describe(error: Exception) -> str:
    """Say what is wrong with a file that could not be read.

    Args:
        error: one of ``BROKEN``.
    """
    if isinstance(error, UnidentifiedImageError):
        return "it is empty, or no image of a known format."
    return f"{error}."


def read_image(file_name: str, format: Optional[str] = "BGR") -> np.ndarray:
    """Read an image as Detectron2 does, with errors that name the file.

    EXIF rotation is applied; gray, palette, CMYK and transparent images get three channels.

    Args:
        file_name: of the image.
        format: order of the channels, "BGR" or "RGB".

    Returns:
        (H, W, 3) uint8

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, damaged or no image, or has more than 8 bits per channel.
    """
    try:
        with PathManager.open(file_name, "rb") as f, Image.open(f) as image:
            mode = image.mode
        if not mode.startswith(DEEP_MODES):
            return utils.read_image(file_name, format=format)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Image '{file_name}' does not exist.") from error
    except BROKEN as error:
        raise ValueError(f"Cannot read image '{file_name}': {describe(error)}") from error
    raise ValueError(
        f"Image '{file_name}' has more than 8 bits per channel (Pillow's mode {mode}). Scale its "
        "values to 0 to 255 and save it with 8 bits."
    )


def check_size(file_name: str, size: Tuple[int, int], expected: Tuple[int, int]) -> None:
    """Compare the height and width of an image with those that its data set says.

    Raises:
        SizeMismatchError: they differ; the message says why, if it can be seen. It is a
            ValueError of Detectron2.
    """
    if size == expected:
        return
    text = f"Image '{file_name}' has height and width {size}, but the data set says {expected}."
    if size == expected[::-1] and _exif_rotates(file_name):
        text += (
            " Its EXIF tag says that it is to be turned, which Detectron2 does; the annotations "
            "are for the image as it is stored. Remove the tag."
        )
    elif size == expected[::-1]:
        text += " Are they exchanged?"
    else:
        text += " Correct them, or give the image that was annotated."
    raise utils.SizeMismatchError(text)


def _exif_rotates(file_name: str) -> bool:
    """Whether the file says that the image is to be turned by 90 degrees, which swaps its sides."""
    with PathManager.open(file_name, "rb") as f, Image.open(f) as image:
        return image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
