"""Checking segmentations of COCO json files, and finding the pixels that they cover.

A segmentation is a list of polygons [[x1, y1, x2, y2, ...], ...] in pixels, or an RLE
{"size": [height, width], "counts": ...} whose counts are run lengths or COCO's packed string.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple, TypeGuard, Union

import numpy as np
from pycocotools import mask as mask_util

Segmentation = Union[List[List[float]], Dict]


def is_valid_polygon(polygon: List[float]) -> bool:
    """Whether a polygon has at least three points, so that Detectron2 keeps it."""
    return len(polygon) >= 6 and len(polygon) % 2 == 0


def find_mistake(segmentation: Any, height: int, width: int) -> Optional[str]:
    """Find what is wrong with a segmentation.

    Polygons with fewer than three points are no mistake here: they are left out in training.

    Args:
        height, width: of the image in pixels.

    Returns:
        the end of a sentence about the segmentation; None if nothing is wrong.
    """
    if isinstance(segmentation, dict):
        return _find_rle_mistake(segmentation, height, width)
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        return "is no list of polygons [[x1, y1, x2, y2, ...], ...] and no RLE"
    for polygon in segmentation:
        if not are_numbers(polygon):
            return "has a coordinate that is no number"
        if len(polygon) % 2:
            return f"has a polygon with an odd number of coordinates ({len(polygon)})"
        for values, size in ((polygon[::2], width), (polygon[1::2], height)):
            # pycocotools walks along the outline, and would for hours or out of memory.
            if values and (min(values) < -size or max(values) > 2 * size):
                return f"has the coordinate {max(values, key=abs)}, far outside the image"
    return None


def _find_rle_mistake(rle: Dict, height: int, width: int) -> Optional[str]:
    """Find what is wrong with an RLE; see :func:`find_mistake`."""
    if "size" not in rle or "counts" not in rle:
        return "is an RLE without 'size' or 'counts'"
    if rle["size"] != [height, width]:
        return f"is an RLE of height and width {rle['size']}, but the image has {[height, width]}"
    counts = rle["counts"]
    if not isinstance(counts, (str, bytes)):
        if not isinstance(counts, list) or not all(type(x) is int and x >= 0 for x in counts):
            return "is an RLE whose counts are neither a string nor run lengths"
        total = sum(counts)
    else:
        total = packed_length(counts)
        if total < 0:
            return "is a damaged RLE: its string is cut off or was changed"
    if total != height * width:
        return f"is a damaged RLE: its runs have {total} pixels, the image {height * width}"
    return None


def packed_length(counts: Union[str, bytes]) -> int:
    """Count the pixels that the runs of a packed RLE cover.

    pycocotools fills a mask whose runs end early with whatever was in memory, so this must be
    checked first.

    Returns:
        the number of pixels; -1 if the string ends within a run or holds other characters.
    """
    try:
        return int(unpack_runs([counts])[0].sum())
    except ValueError:
        return -1


def unpack_runs(packed: Sequence[Union[str, bytes]]) -> List[np.ndarray]:
    """Get the run lengths of packed RLEs, all at once: most of the work is NumPy's calls.

    The format is that of pycocotools' ``rleToString``: per run, groups of five bits, low ones
    first, each as a character from "0" on with a sixth bit if more follow; from the fourth run
    on, the difference to the run before the last.

    Args:
        packed: the counts of each RLE.

    Returns:
        int64 per RLE, of pixels outside and inside in turn.

    Raises:
        ValueError: a string ends within a run, holds other characters, or gives negative lengths.
    """
    raw = [x.encode(errors="surrogatepass") if isinstance(x, str) else x for x in packed]
    ends = np.cumsum([0, *map(len, raw)])
    groups = np.frombuffer(b"".join(raw), np.uint8).astype(np.int64) - 48
    if not len(groups):
        return [groups for _ in packed]
    last = (groups & 0x20) == 0
    known = np.concatenate([[True], last])  # whether a run may begin: at 0, and after a last group
    if not known[ends].all() or groups.min() < 0 or groups.max() > 0x3F:
        raise ValueError("it is cut off, or holds characters that an RLE has not")
    starts = np.flatnonzero(known[:-1])
    places = np.arange(len(groups)) - np.repeat(starts, np.diff([*starts, len(groups)]))
    if places.max() > 6:
        raise ValueError("it has a run of more than 35 bits")
    runs = np.add.reduceat((groups & 0x1F) << (5 * places), starts)
    negative = (groups[last] & 0x10) != 0  # two's complement, whose sign the last group has
    runs -= np.where(negative, 1 << (5 * (places[last] + 1)), 0)
    parts = np.split(runs, np.searchsorted(starts, ends[1:-1]))
    for part in parts:
        part[1::2] = np.cumsum(part[1::2])
        part[2::2] = np.cumsum(part[2::2])
    if (runs < 0).any():
        raise ValueError("it has a run of negative length")
    return parts


def is_number(x: Any) -> TypeGuard[float]:
    """Whether something can be a coordinate: a number that is not NaN, infinite or huge."""
    return isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 1e15


def are_numbers(values: List) -> bool:
    """Whether all values :func:`is_number`; a json file has millions, so no Python per value."""
    return {int, float}.issuperset(map(type, values)) and all(map((1e15).__gt__, map(abs, values)))


def to_rle(segmentation: Segmentation, height: int, width: int) -> Dict:
    """Convert a well-formed segmentation to a packed RLE, without polygons of too few points.

    Args:
        height, width: of the image in pixels.
    """
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            return mask_util.frPyObjects(segmentation, height, width)
        return segmentation
    polygons = [p for p in segmentation if is_valid_polygon(p)]
    if not polygons:
        return mask_util.encode(np.zeros((height, width), np.uint8, order="F"))
    return mask_util.merge(mask_util.frPyObjects(polygons, height, width))


def encode(bitmap: np.ndarray) -> Dict:
    """Make an RLE that json can write of a bitmap (H, W) bool."""
    rle = mask_util.encode(np.asarray(bitmap, np.uint8, order="F"))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def decode_in_box(rle: Dict) -> Tuple[np.ndarray, Tuple[int, int]]:
    """Make the bitmap of a packed RLE within its box, where that of the image may be large.

    Returns:
        (h, w) uint8, and the corner (x, y) of the box in the image; (0, 0) if there are no pixels.
    """
    x, y, w, h = map(int, mask_util.toBbox(rle))
    height = rle["size"][0]
    begin, end = x * height, (x + w) * height  # the columns that the box has
    [runs] = unpack_runs([rle["counts"]])
    runs = np.diff(np.clip(np.cumsum(runs), begin, end), prepend=begin)
    columns = np.repeat((np.arange(len(runs)) % 2).astype(np.uint8), runs)
    return np.ascontiguousarray(columns.reshape(w, height).T[y : y + h]), (x, y)


def place(bitmap: np.ndarray, left: int, top: int, height: int, width: int) -> Dict:
    """Make the RLE (H, W) of a bitmap (h, w) uint8 that lies in the image, without a larger one."""
    columns = np.pad(bitmap.T.astype(np.int8), ((0, 0), (1, 1)))  # each ends outside of the object
    column, row = np.nonzero(np.diff(columns, axis=1))  # in turn: an object begins, it ends
    changes = (column.astype(np.int64) + left) * height + row + top
    runs = np.diff(changes, prepend=0, append=height * width).tolist()
    rle = mask_util.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode()}


def area(rle: Dict) -> int:
    """Count the pixels of a packed RLE.

    One at a time: with NumPy 2, ``pycocotools.mask.area`` of a list fails from 256 masks on.
    """
    return int(mask_util.area(rle))
