"""Reading images, with errors that name the file."""

import re
import threading
from contextlib import contextmanager
from typing import BinaryIO, Callable, Iterator, Tuple

import numpy as np
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ..config import MAX_PIXELS
from ..image_kind import COLOUR, ImageKind, UnsuitableImageError
from .stored_bits import stored_bits
from .stored_pixels import AS_STORED, NPY, Limit, as_stored, read_beyond_pillow

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
EXIF_ORIENTATION = 0x0112
STRIP = 256  # rows
SWAPPING = (5, 6, 7, 8)  # its values that exchange height and width

# Pillow clips or divides their values without a word when it makes them RGB with 8 bits. The second
# are names for how pixels are stored: "RGB;16B" has 16 bits per channel, but "BGR;16" per pixel.
DEEP_MODES = ("I", "F")
DEEP_STORAGE = re.compile(r"[A-Za-z]+;16[BLNS]")

# What Pillow decodes itself. It goes by the content, not by the ending of the name, and for others,
# such as PostScript, it starts programs that run what is in the file.
FORMATS = ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "PSD", "SGI", "TIFF", "WEBP"]

# Their further frames are no images: smaller or other views of the photograph, layers.
FORMATS_OF_ONE_IMAGE = ("MPO", "PSD")
TIFF_SUBFILE_TYPE = 254
TIFF_NO_PAGE = 1 | 4  # bits of the subfile type: a smaller copy of a page, the mask of one

# Pillow has all of these for broken files, and not always with the name.
BROKEN = (
    *(OSError, SyntaxError, ValueError, Image.DecompressionBombError),
    *(TypeError, RuntimeError, MemoryError),  # seen with TIFF, AVIF and JPEG 2000
)

_PILLOWS_LIMIT = threading.Lock()


@contextmanager
def limit_of_pixels(max_pixels: int) -> Iterator[None]:
    """Let Pillow read images of up to so many pixels, and refuse others before it takes memory.

    Its limit is one for the whole process. So it is changed only while a file is read, one file at
    a time, and not at all if it is right as it is.

    Args:
        max_pixels: INPUT.MAX_PIXELS; an odd number counts as the next one.
    """
    limit = (max_pixels + 1) // 2  # Pillow warns from here on, and refuses from twice as much
    if limit == Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _PILLOWS_LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limit
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def describe(error: Exception) -> str:
    """Say what is wrong with a file that could not be read.

    Args:
        error: one of ``BROKEN``.
    """
    if isinstance(error, UnidentifiedImageError):
        return "it is empty, or no image of a known format."
    if isinstance(error, MemoryError):
        return "it is damaged, or there is not enough memory for it."
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"{error} The limit is INPUT.MAX_PIXELS. Make the image smaller, or the key larger if "
            "you trust the file."
        )
    return f"{error}."


def open_image(f: BinaryIO) -> Image.Image:
    """Open an image of Pillow; one of another format than :data:`FORMATS` is no image.

    Raises:
        OSError: it is no such image; or others of :data:`BROKEN`.
    """
    Image.init()
    return Image.open(f, formats=[x for x in FORMATS if x in Image.OPEN])  # AVIF since 11.3


def read_image(
    file_name: str,
    format: str = "BGR",
    max_pixels: int = MAX_PIXELS,
    kind: ImageKind = COLOUR,
) -> np.ndarray:
    """Read an image, with errors that name the file.

    Colour of 8 bits is read as Detectron2 reads it: EXIF rotation is applied; gray, palette, CMYK
    and transparent images get three channels. For other kinds, and of NumPy's files, the values
    are those in the file; see :meth:`ImageKind.arrange`.

    Args:
        file_name: of the image.
        format: order of three channels, "BGR" or "RGB". Others are in the order of the file.
        max_pixels: INPUT.MAX_PIXELS.
        kind: INPUT.CHANNELS and INPUT.DTYPE.

    Returns:
        (H, W, C) uint8, or float32 if the kind has another type.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, damaged or no image, of another kind, has several frames or
            pages, or more than ``max_pixels``.
    """
    try:
        with PathManager.open(file_name, "rb") as f:
            return _read(f, file_name, format, max_pixels, kind)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Image '{file_name}' does not exist.") from error
    except UnsuitableImageError as error:
        raise ValueError(f"Image '{file_name}' {error}") from error
    except BROKEN as error:
        raise ValueError(f"Cannot read image '{file_name}': {describe(error)}") from error


def _read(f: BinaryIO, file_name: str, format: str, max_pixels: int, kind: ImageKind) -> np.ndarray:
    """Read an open file; see :func:`read_image`, but errors do not name it.

    Raises:
        UnsuitableImageError: it can be read, but not used; or others of :data:`BROKEN`.
    """
    if kind != COLOUR or file_name.lower().endswith(NPY):
        pixels = read_beyond_pillow(f, file_name, Limit(max_pixels, kind.channels))
        if pixels is not None:
            return in_order(kind.arrange(pixels), format)
    with limit_of_pixels(max_pixels), open_image(f) as image:
        frames = count_frames(image)
        if frames > 1:
            raise UnsuitableImageError(
                f"has {frames} frames or pages. Save each as an image of its own, or an animation "
                "as a video."
            )
        # The rest of utils.read_image, which would open the file once more.
        return _to_array(image, utils._apply_exif_orientation, format, kind)


def _to_array(
    image: Image.Image,
    turn: Callable[[Image.Image], Image.Image],
    format: str,
    kind: ImageKind,
) -> np.ndarray:
    """Make an array of an image of Pillow.

    Args:
        turn: turns it as its EXIF tag says.

    Raises:
        UnsuitableImageError: it is of another kind, or has been given 8 bits per channel by Pillow.
    """
    mode = deep_mode(image)
    if mode and not (kind != COLOUR and mode in AS_STORED and image.format in (None, "TIFF")):
        raise UnsuitableImageError(
            f"has more than 8 bits per channel (Pillow's mode {mode}). Set INPUT.DTYPE to uint16 "
            "or float32, for files in PNG, TIFF or .npy (docs/channels.md); or scale its values to "
            "0 to 255 and save it with 8 bits."
        )
    image = turn(image)
    if kind == COLOUR:
        return in_order(_colours(image), format)
    return in_order(kind.arrange(as_stored(image)), format)


def _colours(image: Image.Image) -> np.ndarray:
    """Make an array (H, W, 3) uint8, RGB, of an image, with the values of Detectron2's own.

    Detectron2's ``convert_PIL_to_numpy`` copies an image that is RGB already, and takes all of its
    pixels at once. That is 14 bytes per pixel while it is read; these strips take 7, of which
    Pillow's own are 4.
    """
    if image.mode != "RGB":
        image = image.convert("RGB")
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):
        bottom = min(top + STRIP, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def in_order(pixels: np.ndarray, format: str, given: str = "RGB") -> np.ndarray:
    """Exchange red and blue of an image (H, W, C) of three channels, if they are in another order.

    Args:
        format, given: "BGR" or "RGB", the order that is wanted and that of the image.
    """
    return pixels[:, :, ::-1] if pixels.shape[2] == 3 and format != given else pixels


def convert_image(
    image: Image.Image,
    format: str = "BGR",
    max_pixels: int = MAX_PIXELS,
    kind: ImageKind = COLOUR,
) -> np.ndarray:
    """Convert an image of Pillow as :func:`read_image` does a file: (H, W, C).

    Of several frames it is the one that the image is at.

    Args:
        image: of any mode with 8 bits or less, if the kind does not say otherwise.
        format, kind: see there.
        max_pixels: INPUT.MAX_PIXELS, for a file that is still to be read.

    Raises:
        ValueError: it is of another kind, or its file is damaged.
    """
    try:
        with limit_of_pixels(max_pixels):
            return _to_array(image, ImageOps.exif_transpose, format, kind)
    except UnsuitableImageError:
        raise
    except BROKEN as error:
        raise ValueError(f"cannot be read: {describe(error)}") from error


def deep_mode(image: Image.Image) -> str:
    """Get Pillow's name for pixels of more than 8 bits per channel; "" if the image has no such.

    Args:
        image: as it was opened. Once its pixels are loaded, 16 bits per colour cannot be seen.
    """
    if image.mode.startswith(DEEP_MODES):
        return image.mode
    for codec, _, _, arguments in getattr(image, "tile", []):
        if codec.startswith("ppm") and arguments[1] > 255:  # the highest value
            return f"{image.mode};16B"
        if found := DEEP_STORAGE.search(str(arguments)):
            return found[0]
    bits = stored_bits(image)
    return f"{image.mode}, {bits} bits in the file" if bits > 8 else ""


def count_frames(image: Image.Image) -> int:
    """Count the frames of an animation, or the pages of a TIFF file."""
    frames = getattr(image, "n_frames", 1)
    if image.format in FORMATS_OF_ONE_IMAGE:
        return 1
    if not isinstance(image, TiffImageFile) or frames == 1:
        return frames
    count = 0
    for frame in range(frames):
        image.seek(frame)
        count += not image.tag_v2.get(TIFF_SUBFILE_TYPE, 0) & TIFF_NO_PAGE
    image.seek(0)
    return max(count, 1)


def read_size(file_name: str) -> Tuple[int, int]:
    """Read the height and width of an image, turned as its EXIF tag says, without its pixels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image.
    """
    with _header(file_name) as image:
        size = image.height, image.width
        return size[::-1] if _orientation(image) in SWAPPING else size


def read_orientation(file_name: str) -> int:
    """Read the EXIF tag of an image that says how it is to be turned, 1 for not at all.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_size`.
    """
    with _header(file_name) as image:
        return _orientation(image)


@contextmanager
def _header(file_name: str) -> Iterator[Image.Image]:
    """Open an image of which no pixels are read, so that their number is not limited."""
    try:
        with limit_of_pixels(2**62), PathManager.open(file_name, "rb") as f, open_image(f) as image:
            yield image
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Image '{file_name}' does not exist.") from error
    except BROKEN as error:
        raise ValueError(f"Cannot read image '{file_name}': {describe(error)}") from error


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(EXIF_ORIENTATION, 1)


def check_size(file_name: str, size: Tuple[int, int], expected: Tuple[int, int]) -> None:
    """Compare the height and width of an image with those that its data set says.

    Raises:
        SizeMismatchError: they differ; the message says why, if it can be seen. It is a
            ValueError of Detectron2.
    """
    if size == expected:
        return
    text = f"Image '{file_name}' has height and width {size}, but the data set says {expected}."
    if size == expected[::-1] and _exif_rotates(file_name, size):
        text += (
            " Its EXIF tag says that it is to be turned, which Detectron2 does; the annotations "
            "are for the image as it is stored. Remove the tag."
        )
    elif size == expected[::-1]:
        text += " Are they exchanged?"
    else:
        text += " Correct them, or give the image that was annotated."
    raise utils.SizeMismatchError(text)


def _exif_rotates(file_name: str, size: Tuple[int, int]) -> bool:
    """Whether the file says that the image is to be turned by 90 degrees, which swaps its sides."""
    try:
        with (
            limit_of_pixels(2 * size[0] * size[1]),  # it was read before
            PathManager.open(file_name, "rb") as f,
            open_image(f) as image,
        ):
            return _orientation(image) in SWAPPING
    except UnidentifiedImageError:  # it was read without Pillow, which turns none
        return False
