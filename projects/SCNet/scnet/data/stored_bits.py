"""How many bits per channel a file has, in formats where Pillow makes it 8 and does not say so."""

from typing import BinaryIO, Callable, Dict

from PIL import Image

CODESTREAM = b"\xff\x4f\xff\x51"  # how the image within a JPEG 2000 file begins


def stored_bits(image: Image.Image) -> int:
    """Read the bits per channel of an image as it was opened.

    Returns:
        8 or less where Pillow's mode says it all, or where the file is closed.
    """
    read = READERS.get(image.format or "")
    file = getattr(image, "fp", None)
    if read is None or file is None or file.closed:
        return 8
    position = file.tell()
    bits = read(file)
    file.seek(position)
    return bits


def _jpeg2000(file: BinaryIO) -> int:
    """The largest depth of the components, which come after the sizes (ISO 15444-1, A.5.1)."""
    file.seek(_start_of_codestream(file))
    header = file.read(42)
    if not header.startswith(CODESTREAM):
        return 8  # it is damaged, which Pillow says
    depths = file.read(3 * int.from_bytes(header[40:42], "big"))[::3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=8)


def _start_of_codestream(file: BinaryIO) -> int:
    """Where the image begins: at once, or within the box "jp2c" (ISO 15444-1, I.4)."""
    file.seek(0)
    if file.read(4) == CODESTREAM:
        return 0
    position = 0
    while True:
        file.seek(position)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        header = 8
        if length == 1:
            length, header = int.from_bytes(file.read(8), "big"), 16
        if kind == b"jp2c" or length < header:
            return position + header
        position += length


def _avif(file: BinaryIO) -> int:
    """The depth in the boxes "av1C" (AV1-ISOBMFF, 2.3.3): one for colours, one for transparency."""
    file.seek(0)
    content, bits, place = file.read(), 8, -1
    while (place := content.find(b"av1C\x81", place + 1)) >= 0:
        flags = int.from_bytes(content[place + 6 : place + 7], "big")
        if flags & 0x40:
            bits = max(bits, 12 if flags & 0x20 else 10)
    return bits


def _sgi(file: BinaryIO) -> int:
    """The bytes per channel, which come fourth."""
    file.seek(3)
    return 8 * int.from_bytes(file.read(1), "big")


READERS: Dict[str, Callable[[BinaryIO], int]] = {
    "AVIF": _avif,
    "JPEG2000": _jpeg2000,
    "SGI": _sgi,
}
