"""Images of other kinds than colours of 8 bits have the values that are in their files."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from scnet.data import read_image
from scnet.data.stored_pixels import Limit, read_beyond_pillow
from scnet.image_kind import ImageKind

SIZE = (6, 8)
HIGHEST = {"uint8": 255, "uint16": 60000, "float32": 1}


def values(kind, seed=0):
    pixels = np.random.default_rng(seed).random((*SIZE, kind.channels)) * HIGHEST[kind.dtype]
    return pixels.astype(kind.dtype)


def write(path, pixels):
    """Three and four channels are red, green, blue (and one more)."""
    path = str(path)
    if path.endswith(".npy"):
        np.save(path, pixels)
    elif pixels.shape[2] == 1 and path.endswith(".tif"):
        Image.fromarray(pixels[:, :, 0]).save(path)
    elif path.endswith(".tif") and not (pixels.dtype == np.uint8 and pixels.shape[2] in (3, 4)):
        tifffile = pytest.importorskip("tifffile", reason="needs tifffile, which is not installed")
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    else:
        order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.shape[2] > 1 else [0]
        assert cv2.imwrite(path, pixels[:, :, order])


@pytest.mark.parametrize(
    "ending, channels, dtype",
    [
        *((".png", channels, dtype) for channels in (1, 3, 4) for dtype in ("uint8", "uint16")),
        *((".tif", 1, dtype) for dtype in ("uint8", "uint16", "float32")),
        *((".tif", 4, "uint8"), (".tif", 3, "uint16"), (".tif", 5, "uint16"), (".tif", 2, "uint8")),
        *((".npy", 1, "uint8"), (".npy", 3, "uint16"), (".npy", 7, "float32")),
    ],
)
def test_values_are_those_of_the_file(tmp_path, ending, channels, dtype):
    kind = ImageKind(channels, dtype)
    pixels, path = values(kind), tmp_path / f"a{ending}"
    write(path, pixels)
    found = read_image(str(path), "RGB", kind=kind)
    assert found.dtype == (np.uint8 if dtype == "uint8" else np.float32)
    np.testing.assert_array_equal(found, pixels)
    swapped = read_image(str(path), "BGR", kind=kind)
    np.testing.assert_array_equal(swapped, pixels[:, :, ::-1] if channels == 3 else pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_the_layout_of_a_tiff_does_not_matter(tmp_path, planar):
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile, which is not installed")
    pixels = values(ImageKind(5, "uint16"))
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    options = {"photometric": "minisblack", "planarconfig": planar}
    tifffile.imwrite(tmp_path / "a.tif", stored, bigtiff=planar == "contig", **options)
    found = read_image(str(tmp_path / "a.tif"), kind=ImageKind(5, "uint16"))
    np.testing.assert_array_equal(found, pixels)


def test_pillow_keeps_what_it_has_8_bits_of(tmp_path):
    """Of five channels it would give three; of five that are written as gray, none."""
    tifffile = pytest.importorskip("tifffile", reason="needs tifffile, which is not installed")
    pixels = values(ImageKind(5))
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "RGB"
    found = read_image(str(tmp_path / "a.tif"), kind=ImageKind(5))
    np.testing.assert_array_equal(found, pixels)
    with pytest.raises(ValueError, match=r"a.tif': it has 5 channels, but INPUT.CHANNELS is 4"):
        read_image(str(tmp_path / "a.tif"), kind=ImageKind(4))


def test_gray_becomes_three_channels_and_three_equal_ones_gray(tmp_path):
    gray = values(ImageKind(1, "uint16"))
    write(tmp_path / "gray.png", gray)
    write(tmp_path / "equal.png", np.repeat(gray, 3, axis=2))
    for name in ("gray.png", "equal.png"):
        for channels in (1, 3):
            kind = ImageKind(channels, "uint16")
            found = read_image(str(tmp_path / name), kind=kind)
            np.testing.assert_array_equal(found, np.repeat(gray, channels, axis=2))


@pytest.mark.parametrize(
    "given, kind, words",
    [
        (ImageKind(3), ImageKind(1), "3 channels of the type uint8, but .* INPUT.CHANNELS 1"),
        (ImageKind(1), ImageKind(4), "1 channel of the type uint8"),
        (ImageKind(4), ImageKind(2), "4 channels"),
        (
            ImageKind(1),
            ImageKind(1, "uint16"),
            "1 channel of the type uint8, but .* INPUT.DTYPE uint16",
        ),
        (
            ImageKind(1, "uint16"),
            ImageKind(1),
            "1 channel of the type uint16, but .* INPUT.DTYPE uint8",
        ),
        (ImageKind(1, "uint16"), ImageKind(3, "float32"), "1 channel of the type uint16"),
        (ImageKind(4, "uint16"), ImageKind(3, "uint16"), "4 channels"),
    ],
)
def test_another_kind_is_named(tmp_path, given, kind, words):
    write(tmp_path / "a.png", values(given))
    with pytest.raises(ValueError, match=f"Image '.*a.png' has {words}"):
        read_image(str(tmp_path / "a.png"), kind=kind)


@pytest.mark.parametrize(
    "array, words",
    [
        (np.full((*SIZE, 2), np.nan, np.float32), "has values that are not finite"),
        (np.full((*SIZE, 2), 1e300), "has values that are not finite"),
        (np.zeros((*SIZE, 2), np.complex64), "shape .6, 8, 2. and the type complex64, no image"),
        (np.zeros((*SIZE, 2, 2), np.float32), "shape .6, 8, 2, 2."),
        (np.zeros((0, 8, 2), np.float32), "has the shape .0, 8, 2."),
        (np.array([{}, 1], object), "no image"),
        (np.zeros((6, 8, 9), np.float32), "it has 9 channels, but INPUT.CHANNELS is 2"),
        (np.zeros((60, 8, 2), np.float32), "480 pixels, and the limit is 100 .INPUT.MAX_PIXELS"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_arrays_that_are_no_images(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=f"a.npy'.* {words}"):
        read_image(str(tmp_path / "a.npy"), max_pixels=100, kind=ImageKind(2, "float32"))


@pytest.mark.parametrize("name", ["a.png", "gray.tif", "a.npy", "a.tif"])
def test_what_is_cut_off_or_too_large_is_named(tmp_path, name):
    kind = ImageKind(1 if name == "gray.tif" else 3, "uint16")
    path = tmp_path / name
    write(path, values(kind))
    with pytest.raises(ValueError, match="INPUT.MAX_PIXELS"):
        read_image(str(path), max_pixels=46, kind=kind)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=f"Cannot read image '.*{name}'"):
        read_image(str(path), kind=kind)


def test_an_image_that_is_to_be_turned_is_refused(tmp_path):
    """OpenCV does not turn what it gives with all bits."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = io.BytesIO()
    Image.fromarray(values(ImageKind(1, "uint16"))[:, :, 0]).save(content, "PNG", exif=exif)
    content.seek(0)
    with pytest.raises(ValueError, match="its tag of orientation is 6"):
        read_beyond_pillow(content, "a.png", Limit(100, 1))


def test_the_package_for_tiff_files_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with Image.new("RGBA", SIZE[::-1]) as image:
        image.save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    # Its photometric interpretation says RGB (2), and now CIE L*a*b* (8).
    place = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x02")
    (tmp_path / "a.tif").write_bytes(content[: place + 8] + b"\x08" + content[place + 9 :])
    with pytest.raises(ValueError, match="a.tif': TIFF .* pip install tifffile"):
        read_image(str(tmp_path / "a.tif"), kind=ImageKind(4))
