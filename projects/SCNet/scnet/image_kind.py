"""What the images of a model are like: the number of their channels and the type of their values.

Shapes: (H, W) the size of an image in pixels, C its channels.
"""

from typing import NamedTuple

import numpy as np
from detectron2.config import CfgNode

# INPUT.DTYPE -> the types that files may have. One set of images has one unit: 16 bits among 8
# would be another, so nothing but floating-point numbers takes several.
STORED = {
    "uint8": ("uint8",),
    "uint16": ("uint16",),
    "float32": ("float16", "float32", "float64", "int16"),
}
SHOWN = (1, 99)  # percentiles of the values that are black and white in a picture


class UnsuitableImageError(ValueError):
    """An image can be read, but not used; the message goes on after its name."""


class ImageKind(NamedTuple):
    """The kind of the images that a model takes.

    Attributes:
        channels: INPUT.CHANNELS.
        dtype: INPUT.DTYPE, a key of :data:`STORED`.
    """

    channels: int = 3
    dtype: str = "uint8"

    @classmethod
    def of(cls, cfg: CfgNode) -> "ImageKind":
        """Read INPUT.CHANNELS and INPUT.DTYPE.

        Raises:
            ValueError: they cannot be; or INPUT.FORMAT has an order for channels that have none.
        """
        kind = cls(cfg.INPUT.CHANNELS, cfg.INPUT.DTYPE)
        if kind.dtype not in STORED:
            raise ValueError(f"INPUT.DTYPE is '{kind.dtype}'. It must be one of {list(STORED)}.")
        if kind.channels < 1:
            raise ValueError(f"INPUT.CHANNELS is {kind.channels}. It must be 1 or more.")
        if kind.channels not in (1, 3) and cfg.INPUT.FORMAT != "RGB":
            raise ValueError(
                f"INPUT.FORMAT is '{cfg.INPUT.FORMAT}', but {kind.channels} channels "
                "(INPUT.CHANNELS) stay in the order of the files. Set it to RGB."
            )
        return kind

    def __str__(self) -> str:
        return f"INPUT.CHANNELS {self.channels} and INPUT.DTYPE {self.dtype}"

    def arrange(self, pixels: np.ndarray) -> np.ndarray:
        """Make an image of this kind of the values that a file has.

        Where there are to be three channels, a single one becomes three; where there is to be one,
        three that are equal become one.

        Args:
            pixels: (H, W) or (H, W, C).

        Returns:
            (H, W, channels); uint8, or float32 for all other types, which holds their values as
            they are.

        Raises:
            UnsuitableImageError: it has other channels or another type, or values that are not
                finite.
        """
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        if pixels.ndim != 3 or not pixels.size:
            raise UnsuitableImageError(
                f"has the shape {pixels.shape}; (height, width, channels) is needed."
            )
        count, dtype = pixels.shape[2], pixels.dtype.name
        if self.channels == 3 and count == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        elif self.channels == 1 and count == 3 and (pixels == pixels[:, :, :1]).all():
            pixels = pixels[:, :, :1]
        if pixels.shape[2] != self.channels or dtype not in STORED[self.dtype]:
            raise UnsuitableImageError(
                f"has {count} channel{'s' * (count != 1)} of the type {dtype}, but the config has "
                f"{self}. Give images of one kind, and set these keys to it."
            )
        if self.dtype == "uint8":
            return np.ascontiguousarray(pixels)
        pixels = np.ascontiguousarray(pixels, np.float32)
        if not np.isfinite(pixels).all():
            raise UnsuitableImageError(
                "has values that are not finite in float32. Replace them, by 0 for example."
            )
        return pixels

    def blank(self, height: int, width: int) -> np.ndarray:
        """Make an image (H, W, channels) of zeros."""
        dtype = np.uint8 if self.dtype == "uint8" else np.float32
        return np.zeros((height, width, self.channels), dtype)


COLOUR = ImageKind()


def to_bgr(pixels: np.ndarray) -> np.ndarray:
    """Make a picture for people of an image of any kind.

    It shows the first three channels as red, green and blue, and of less than three the first one
    in shades of gray. What has not 8 bits is scaled, in each picture anew: the :data:`SHOWN`
    percentiles of its values become black and white.

    Args:
        pixels: (H, W, C) uint8 or float32. Three channels are blue, green, red.

    Returns:
        (H, W, 3) uint8, BGR; the image itself, if it is of this kind.
    """
    if pixels.shape[2] > 3:
        pixels = pixels[:, :, 2::-1]
    elif pixels.shape[2] < 3:
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    if pixels.dtype == np.uint8:
        return pixels
    black, white = np.percentile(pixels, SHOWN)
    scaled = (pixels - black) * (255 / ((white - black) or 1.0))  # all may be of one value
    return scaled.clip(0, 255).astype(np.uint8)


def to_rgb(pixels: np.ndarray, format: str) -> np.ndarray:
    """Make a picture (H, W, 3) uint8, RGB, as :func:`to_bgr` does one in BGR.

    Args:
        format: order of the channels, if there are three: "RGB" or "BGR".
    """
    picture = to_bgr(pixels)
    return picture if pixels.shape[2] == 3 and format == "RGB" else picture[:, :, ::-1]
