"""Text in pictures, in a font that has its characters."""

import logging
import os
from functools import lru_cache
from math import ceil
from typing import FrozenSet, List, Optional, Sequence, Tuple

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

logger = logging.getLogger(__name__)

PLAIN = frozenset("0123456789 .%()")  # what a label has beside the name
# A font that looks like text: Apple's LastResort has a box for every character there is.
NO_TEXT = ("lastresort", "emoji", "symbol", "math")
UNUSUAL = ("bold", "black", "heavy", "light", "thin", "italic", "oblique", "serif", "mono")


def draw_text(text: str, height: int) -> np.ndarray:
    """Draw a line of text: (h, w) uint8, 0 where there is none and 255 where it is full.

    Characters that no font of this system has become "?".

    Args:
        height: of the line in pixels; it is that of the result, whatever the text.
    """
    line = " ".join(text.split())
    path = find_font(frozenset(line))
    if path is None:
        path = default_font()
        known = characters(path)
        line = "".join(x if ord(x) in known else "?" for x in line)
    font = ImageFont.truetype(path, max(1, round(height * 0.75)))
    left, _, right, _ = font.getbbox(line)
    margin = height // 8
    image = Image.new("L", (ceil(right - left) + 2 * margin, height))
    start = (margin - left, height / 2)
    ImageDraw.Draw(image).text(start, line, fill=255, font=font, anchor="lm")
    return np.asarray(image)


def drawable_names(names: Sequence[str]) -> List[str]:
    """Names of classes that pictures can show.

    A name that no font of this system has the characters of is "class K", where K counts from 1. A
    warning says so once.
    """
    return list(_drawable_names(tuple(names)))


@lru_cache(maxsize=8)
def _drawable_names(names: Tuple[str, ...]) -> Tuple[str, ...]:
    there = [find_font(PLAIN | frozenset(" ".join(name.split()))) is not None for name in names]
    shown = tuple(x if ok else f"class {k}" for k, (x, ok) in enumerate(zip(names, there), 1))
    changed = [f"'{x}' is '{y}'" for x, y in zip(names, shown) if x != y]
    if changed:
        logger.warning(
            "No font of this system has the characters of all classes. In pictures "
            f"{', '.join(changed)}. Install a font that has them, such as Noto Sans CJK (Debian's "
            "package fonts-noto-cjk) for Chinese, Japanese and Korean."
        )
    return shown


@lru_cache(maxsize=256)
def find_font(text: FrozenSet[str]) -> Optional[str]:
    """Find a font that has all the characters; None if there is none.

    Matplotlib's own is the first choice, then the plainest of the system's.
    """
    needed = set(map(ord, text))
    paths = [default_font()] if needed <= characters(default_font()) else system_fonts()
    return next((path for path in paths if needed <= characters(path)), None)


@lru_cache(maxsize=1)
def default_font() -> str:
    """The font that comes with Matplotlib, DejaVu Sans."""
    return os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@lru_cache(maxsize=1)
def system_fonts() -> List[str]:
    """The fonts of this system, upright sans serif ones of normal weight first.

    They are listed anew in each process: Matplotlib's own list is made once, and does not know of a
    font that was installed later.
    """

    def order(path: str) -> Tuple[int, str]:
        name = os.path.basename(path).lower()
        return sum(word in name for word in UNUSUAL), path

    paths = font_manager.findSystemFonts()
    return sorted((p for p in paths if not any(x in p.lower() for x in NO_TEXT)), key=order)


@lru_cache(maxsize=32)
def characters(path: str) -> FrozenSet[int]:
    """The code points that a font file can draw; none of a file that is no font of outlines."""
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # a damaged file is no reason to draw nothing
        return frozenset()
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
