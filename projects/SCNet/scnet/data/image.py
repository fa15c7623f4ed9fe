"""Reading images, with errors that name the file."""

from typing import Optional

import numpy as np
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from PIL import Image

# Pillow clips their values to 255 without a word when it makes them RGB.
DEEP_MODES = ("I", "F")


def read_image(file_name: str, format: Optional[str] = "BGR") -> np.ndarray:
    """Detectron2's ``read_image``: EXIF rotation is applied; gray, palette, CMYK and transparent
    images become three channels.

    Args:
        file_name: of the image.
        format: order of the channels, "BGR" or "RGB".

    Returns:
        (H, W, 3) uint8

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, damaged or no image, or has more than 8 bits per channel.
    """
    try:
        with PathManager.open(file_name, "rb") as f, Image.open(f) as image:
            mode = image.mode
        if not mode.startswith(DEEP_MODES):
            return utils.read_image(file_name, format=format)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Image '{file_name}' does not exist.") from error
    # Pillow has all of these for broken files, and not always with the name.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"Cannot read image '{file_name}': {error}") from error
    raise ValueError(
        f"Image '{file_name}' has more than 8 bits per channel (Pillow's mode {mode}). Scale its "
        "values to 0 to 255 and save it with 8 bits."
    )


def exif_rotates(file_name: str) -> bool:
    """Whether the file says that the image is to be turned by 90 degrees, which swaps its sides."""
    with PathManager.open(file_name, "rb") as f, Image.open(f) as image:
        return image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
