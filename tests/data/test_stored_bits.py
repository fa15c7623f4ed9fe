"""More than 8 bits per channel in formats where Pillow makes 8 of them without a word."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from scnet.data import convert_image, read_image
from scnet.data.stored_bits import stored_bits

COLOURS = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)


def avif(depth):
    pixels = COLOURS.astype(np.uint16) << (depth - 8) if depth > 8 else COLOURS
    there, content = cv2.imencode(".avif", pixels, [cv2.IMWRITE_AVIF_DEPTH, depth])
    assert there
    return content.tobytes()


def sgi(depth):
    """Uncompressed: a header of 512 bytes, and the channels one after the other, big-endian."""
    header = struct.pack(">hBBHHHH", 474, 0, depth // 8, 3, 80, 64, 3)
    header += struct.pack(">ii", 0, 2**depth - 1)
    channels = COLOURS.transpose(2, 0, 1).astype(f">u{depth // 8}")
    return header.ljust(512, b"\0") + channels.tobytes()


def jpeg2000(depth, ending=".jp2"):
    """With the depth written into the header: Pillow and OpenCV write 8 bits."""
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, "JPEG2000", no_jp2=ending == ".j2k")
    content = bytearray(file.getvalue())
    first = content.index(b"\xff\x4f\xff\x51") + 42
    assert content[first : first + 9 : 3] == b"\7\7\7"
    content[first + 3] = depth - 1  # of one channel
    return bytes(content)


FILES = {
    "a.avif": avif,
    "a.sgi": sgi,
    "a.jp2": jpeg2000,
    "a.j2k": lambda depth: jpeg2000(depth, ".j2k"),
}


@pytest.mark.parametrize("name, depth", [("a.sgi", 16), ("a.jp2", 16), ("a.j2k", 12)])
def test_more_are_refused(tmp_path, name, depth):
    (tmp_path / name).write_bytes(FILES[name](depth))
    with pytest.raises(ValueError, match=f"{name}' has more than 8 bits .*{depth} bits in the"):
        read_image(str(tmp_path / name))
    with pytest.raises(ValueError, match="more than 8 bits"):
        convert_image(Image.open(tmp_path / name))


@pytest.mark.parametrize("depth", [10, 12])
def test_more_in_avif(tmp_path, depth):
    (tmp_path / "a.avif").write_bytes(avif(depth))
    with pytest.raises(ValueError, match=f"a.avif' has more than 8 bits .*{depth} bits in the"):
        read_image(str(tmp_path / "a.avif"))


@pytest.mark.parametrize("name", FILES)
def test_8_bits_are_read_as_before(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name](8))
    expected = np.asarray(Image.open(tmp_path / name).convert("RGB"))
    assert np.array_equal(read_image(str(tmp_path / name), "RGB"), expected)


def test_the_box_of_the_image_is_found_behind_others():
    """Also behind text that looks like its beginning, and where lengths have 8 bytes."""
    content = jpeg2000(12)
    start = content.index(b"jp2c") - 4
    box = struct.pack(">I4sQ", 1, b"xml ", 16 + 50) + b"\xff\x4f\xff\x51".ljust(50, b"\1")
    image = Image.open(io.BytesIO(content[:start] + box + content[start:]))
    assert stored_bits(image) == 12


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_is_damaged(tmp_path, name):
    """However little is left of it, and nothing else is raised."""
    content = FILES[name](8)
    for size in (5, 20, 60, 100, 140, 180, 400):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises(ValueError, match="Cannot read image"):
            read_image(str(tmp_path / name))
