"""Pixels as files have them, where Pillow would give others or none: 16 bits, more channels.

Shapes: (H, W) the size of an image in pixels, C its channels.
"""

from typing import Any, BinaryIO, NamedTuple, Optional

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..image_kind import UnsuitableImageError

NPY = ".npy"
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
# Tags of TIFF, and values that they have where they are missing.
BITS, PHOTOMETRIC, SAMPLES = 258, 262, 277
ORIENTATION = 0x0112  # of TIFF and of EXIF
# Pillow's modes whose array is what the file has, with its channels.
AS_STORED = ("L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "I;16", "I;16B", "I;16L", "F")


class Limit(NamedTuple):
    """What an image may have at most; its header is checked before anything is decoded.

    Attributes:
        pixels: INPUT.MAX_PIXELS.
        channels: INPUT.CHANNELS, and any of the four that common files have.
    """

    pixels: int
    channels: int

    def check(self, height: int, width: int, channels: int = 1) -> None:
        """Refuse an image.

        Raises:
            ValueError: it is too large.
        """
        if height * width > self.pixels:
            raise ValueError(
                f"it has {height * width} pixels, and the limit is {self.pixels} (INPUT.MAX_PIXELS)"
            )
        if channels > max(self.channels, 4):
            raise ValueError(f"it has {channels} channels, but INPUT.CHANNELS is {self.channels}")


def read_beyond_pillow(f: BinaryIO, file_name: str, limit: Limit) -> Optional[np.ndarray]:
    """Read an image that Pillow cannot give as it is stored.

    Args:
        f: at the beginning of the file, and left there if None is returned.
        file_name: NumPy's arrays are known by their ending.
        limit: of the image.

    Returns:
        (H, W) or (H, W, C), three channels as red, green, blue; None if Pillow shall read it.

    Raises:
        OSError, ValueError, TypeError: the file is damaged or too large, is to be turned, or takes
            the extra "tiff".
    """
    if file_name.lower().endswith(NPY):
        return _read_npy(f, limit)
    start, pixels = f.read(26), None
    f.seek(0)
    if start.startswith(PNG) and start[24:25] == b"\x10":  # bits per channel
        pixels = _read_png(f, limit)
    elif start.startswith(TIFF):
        pixels = _read_tiff(f, limit)
    f.seek(0)
    return pixels


def as_stored(image: Image.Image) -> np.ndarray:
    """Take the pixels of an image of Pillow: (H, W) or (H, W, C).

    Palettes and black and white become colours and gray.

    Raises:
        UnsuitableImageError: they are no longer as they were stored.
    """
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA", "YCbCr"):
        transparent = image.mode == "PA" or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    if image.mode not in AS_STORED:
        raise UnsuitableImageError(
            f"has pixels of Pillow's mode {image.mode}, which are not used. Save it as PNG, TIFF "
            "or .npy with its channels as they are."
        )
    return np.asarray(image)


def _read_npy(f: BinaryIO, limit: Limit) -> np.ndarray:
    version = np.lib.format.read_magic(f)
    read = np.lib.format.read_array_header_1_0
    shape, _, dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(f)
    if len(shape) not in (2, 3) or dtype.kind not in "uif":
        raise ValueError(f"it is an array of the shape {shape} and the type {dtype}, no image")
    limit.check(shape[0], shape[1], *shape[2:])
    f.seek(0)
    return np.load(f, allow_pickle=False)


def _read_png(f: BinaryIO, limit: Limit) -> np.ndarray:
    """Read 16 bits per channel by OpenCV, as Pillow makes 8 of them if there are colours."""
    content = f.read()
    width, height = (int.from_bytes(content[place : place + 4], "big") for place in (16, 20))
    limit.check(height, width)
    f.seek(0)
    with Image.open(f, formats=["PNG"]) as image:
        _refuse_to_turn(image.getexif().get(ORIENTATION, 1))
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("it is damaged")
    if pixels.ndim == 2:
        return pixels
    return np.concatenate(
        [pixels[:, :, 2::-1], pixels[:, :, 3:]], axis=2
    )  # OpenCV begins with blue


def _is_for_pillow(f: BinaryIO) -> bool:
    """Whether Pillow gives all samples of a TIFF file: one per pixel, or colours of 8 bits."""
    header = f.read(16)
    is_big = b"+" in header[2:4]
    tags = ImageFileDirectory_v2(header if is_big else header[:8])
    f.seek(tags.next)
    tags.load(f)
    samples, bits = tags.get(SAMPLES, 1), tags.get(BITS, (1,))
    colours = {2: (3, 4), 5: (4,), 6: (3,)}.get(tags.get(PHOTOMETRIC, 0), ())  # RGB, CMYK, YCbCr
    return samples == 1 or (set(bits) == {8} and samples in colours)


def _read_tiff(f: BinaryIO, limit: Limit) -> Optional[np.ndarray]:
    try:
        if _is_for_pillow(f):
            return None
        f.seek(0)
        with _import_tifffile().TiffFile(f) as tiff:
            if len(tiff.pages) != 1:
                raise ValueError(f"it has {len(tiff.pages)} pages, and one is needed")
            page = tiff.pages[0]
            limit.check(page.imagelength, page.imagewidth, page.samplesperpixel)
            tag = page.tags.get(ORIENTATION)
            _refuse_to_turn(tag.value if tag else 1)
            pixels = page.asarray()
            return pixels.transpose(1, 2, 0) if page.axes.startswith("S") else pixels
    except Exception as error:  # of any kind, for a damaged file
        raise ValueError(str(error)) from error


def _import_tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise ValueError(
            "TIFF files of several channels, other than colours of 8 bits, take the package "
            "tifffile: pip install tifffile"
        ) from error
    return tifffile


def _refuse_to_turn(orientation: int) -> None:
    """Refuse a file with a tag that says to turn the image: it is not turned here."""
    if orientation != 1:
        raise ValueError(
            f"its tag of orientation is {orientation}, and images of this kind are not turned. "
            "Turn it, and remove the tag"
        )
