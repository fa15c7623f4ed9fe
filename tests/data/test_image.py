"""Image files that Pillow would read as something else, without a word."""

import struct
import tracemalloc

import cv2
import numpy as np
import pytest
from detectron2.data import detection_utils as utils
from PIL import Image

from helpers import development_data
from scnet.data import read_image
from scnet.data.semantic_targets import read_png

PAGES = [Image.new("L", (8, 6), shade) for shade in (0, 200)]


def save_pages(path, **kwargs):
    PAGES[0].save(path, save_all=True, append_images=PAGES[1:], **kwargs)


@pytest.mark.parametrize(
    "name, channels",
    [(x, n) for x in ("a.png", "a.tif") for n in (1, 3, 4)] + [("a.pgm", 1), ("a.ppm", 3)],
)
def test_more_than_8_bits_are_refused(tmp_path, name, channels):
    """Whose values Pillow divides by 256, so that those of a 12-bit camera are nearly black."""
    path = str(tmp_path / name)
    cv2.imwrite(path, np.full((6, 8, channels), 4000, np.uint16))
    with pytest.raises(ValueError, match=f"{name}' has more than 8 bits per channel"):
        read_image(path)


def test_a_damaged_tiff_is_named(tmp_path):
    """One whose second page has no width, at which Pillow raises a TypeError."""
    path = tmp_path / "a.tif"
    save_pages(path)
    content = path.read_bytes()
    place = max(content.rfind(struct.pack("<HH", 256, kind)) for kind in (3, 4))
    path.write_bytes(content[:place] + struct.pack("<H", 255) + content[place + 2 :])
    with pytest.raises(ValueError, match="Cannot read image '.*a.tif': Missing dimensions"):
        read_image(str(path))


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png", "a.webp"])
def test_several_frames_are_refused(tmp_path, name):
    save_pages(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}' has 2 frames or pages"):
        read_image(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png", "a.webp", "a.bmp", "a.ppm"])
def test_a_single_frame_is_read(tmp_path, name):
    PAGES[1].convert("RGB").save(tmp_path / name, lossless=True)
    assert np.array_equal(read_image(str(tmp_path / name)), np.full((6, 8, 3), 200))


def test_a_smaller_copy_is_no_page(tmp_path):
    """TIFF files of maps have them; phones add pictures to their JPEG files (MPO)."""
    small = PAGES[1].resize((4, 3))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    PAGES[1].save(tmp_path / "a.tif", save_all=True, append_images=[small])
    PAGES[1].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[small])
    for name in ("a.tif", "a.jpg"):
        with Image.open(tmp_path / name) as image:
            assert image.n_frames == 2
        assert read_image(str(tmp_path / name)).shape == (6, 8, 3)


@pytest.mark.parametrize(
    "name, reason", [("colour_16_bit.png", "8 bits"), ("animation.gif", "2 f")]
)
def test_files_of_users(name, reason):
    with pytest.raises(ValueError, match=f"{name}' has .*{reason}"):
        read_image(str(development_data() / "cases" / name))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\n(x) deletefile\n"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.eps"])
def test_postscript_starts_no_program(tmp_path, monkeypatch, name):
    """Pillow gives it to Ghostscript, which runs it, whatever the name of the file."""

    def ghostscript(*args, **kwargs):
        pytest.fail("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", ghostscript)
    path = tmp_path / name
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(ValueError, match=f"{name}': it is empty, or no image of a known format"):
        read_image(str(path))
    with pytest.raises(ValueError, match=f"{name}': it is empty, or no image of a known format"):
        read_png(str(path), ("L",), "one channel", (6, 8))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "1"])
def test_the_values_are_those_of_detectron2(tmp_path, mode):
    """Also where an image is read in several strips, of which the last is smaller."""
    pixels = np.random.default_rng(0).integers(0, 255, (600, 7, 3), np.uint8)
    path = str(tmp_path / "a.tif")
    Image.fromarray(pixels).convert(mode).save(path)
    for order in ("BGR", "RGB"):
        np.testing.assert_array_equal(read_image(path, order), utils.read_image(path, order))


def test_reading_takes_no_second_copy_of_the_array(tmp_path):
    """Besides what Pillow has itself, which Python does not see."""
    path = str(tmp_path / "a.jpg")
    Image.new("RGB", (1500, 2500)).save(path)
    tracemalloc.start()
    try:
        array = read_image(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert array.nbytes < peak < 1.5 * array.nbytes
