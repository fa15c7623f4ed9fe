"""Large images tile by tile, with the parts of an object that tiles cut put together.

Nothing here has the size of the image: masks are RLE, and bitmaps those of a tile or of an object.

Shapes: R objects, (H, W) the size of the image, T the side of a tile, all in pixels.
"""

from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_util

from ..data.masks import place
from .mask_formats import RLEMasks

SAME = 0.5  # of the smaller mask, where two tiles overlap, is in both: they are one object


class Tiles(NamedTuple):
    """How images are cut.

    Attributes:
        side: of a tile.
        overlap: of two neighbours, as a part of the side. Objects that are smaller are whole in
            one tile at least.
    """

    side: int
    overlap: float = 0.2

    def check(self) -> None:
        """Make sure that images can be cut so.

        Raises:
            ValueError: they cannot.
        """
        if self.side < 1:
            raise ValueError(f"A tile must have 1 pixel or more at a side, not {self.side}.")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"The overlap of tiles must be from 0 to below 1, not {self.overlap}.")

    def starts(self, length: int) -> List[int]:
        """Where the tiles along a side of an image begin: the last one ends with the image."""
        last = max(0, length - self.side)
        step = max(1, round(self.side * (1 - self.overlap)))
        return [*range(0, last, step), last]


@dataclass
class Piece:
    """What was found in a tile of one object.

    Attributes:
        tile: left, top, right and bottom of the tile in the image.
        box: (4,), of the object in the image.
        label: its class.
        score: of the object.
        rle: its mask in the tile; None if the model predicts no masks.
    """

    tile: np.ndarray
    box: np.ndarray
    label: int
    score: float
    rle: Optional[Dict]

    def bitmap(self) -> np.ndarray:
        """The mask in the tile (T, T) uint8, or the box filled."""
        if self.rle is not None:
            return mask_util.decode(self.rle)
        bitmap = np.zeros(np.subtract(self.tile[2:], self.tile[:2])[::-1], np.uint8)
        x1, y1, x2, y2 = np.rint(self.box - np.tile(self.tile[:2], 2)).astype(int)
        bitmap[y1:y2, x1:x2] = 1
        return bitmap


def predict_tiles(
    find: Callable[[List[np.ndarray]], Iterable[Instances]],
    pixels: np.ndarray,
    tiles: Tiles,
    batch_size: int,
) -> Instances:
    """Find the objects of an image tile by tile.

    An object that several tiles see is one: those of its class whose masks agree where the tiles
    overlap. It has the union of their masks and boxes, and the highest score.

    Args:
        find: gets tiles, (T, T, 3) or smaller images, and gives Instances with ``pred_boxes``,
            ``scores``, ``pred_classes`` and perhaps ``pred_masks``, which are RLE.
        pixels: (H, W, 3).
        tiles: how the image is cut.
        batch_size: tiles that ``find`` gets at a time.

    Returns:
        Instances as of ``find``, in the image, by falling score.
    """
    height, width = pixels.shape[:2]
    corners = [(x, y) for y in tiles.starts(height) for x in tiles.starts(width)]
    pieces: List[Piece] = []
    masked = False
    for start in range(0, len(corners), batch_size):
        batch = corners[start : start + batch_size]
        cut = [pixels[y : y + tiles.side, x : x + tiles.side] for x, y in batch]
        for (x, y), found in zip(batch, find(cut)):
            masked = found.has("pred_masks")
            h, w = found.image_size
            tile, offset = np.array([x, y, x + w, y + h]), np.array([x, y, x, y])
            for k in range(len(found)):
                box = found.pred_boxes.tensor[k].numpy() + offset
                rle = found.pred_masks[k] if masked else None
                label, score = int(found.pred_classes[k]), float(found.scores[k])
                pieces.append(Piece(tile, box, label, score, rle))
    groups = sorted(group_pieces(pieces), key=lambda g: -max(x.score for x in g))
    boxes = [np.stack([x.box for x in g]) for g in groups]
    merged = [np.concatenate([b[:, :2].min(0), b[:, 2:].max(0)]) for b in boxes]
    result = Instances(
        (height, width),
        pred_boxes=Boxes(torch.tensor(np.array(merged), dtype=torch.float32).reshape(-1, 4)),
        scores=torch.tensor([max(x.score for x in g) for g in groups]),
        pred_classes=torch.tensor([g[0].label for g in groups], dtype=torch.int64),
    )
    if masked:
        result.pred_masks = RLEMasks(union(g, height, width) for g in groups)
    return result


def group_pieces(pieces: List[Piece]) -> List[List[Piece]]:
    """Put together the pieces that are of one object, at most one of each tile.

    Those that agree most come first.
    """
    pairs = []
    boxes = np.array([x.box for x in pieces]).reshape(-1, 4)
    labels = np.array([x.label for x in pieces])
    for k, piece in enumerate(pieces):
        touches = (boxes[k + 1 :, :2] < piece.box[2:]) & (boxes[k + 1 :, 2:] > piece.box[:2])
        others = np.flatnonzero(touches.all(axis=1) & (labels[k + 1 :] == piece.label)) + k + 1
        for other in others.tolist():
            agreement = agree(piece, pieces[other])
            if agreement >= SAME:
                pairs.append((agreement, k, other))
    groups = [[k] for k in range(len(pieces))]  # the group that each is in
    for _, k, other in sorted(pairs, reverse=True):
        one, two = groups[k], groups[other]
        if not {tuple(pieces[x].tile) for x in one} & {tuple(pieces[x].tile) for x in two}:
            one += two
            for x in two:
                groups[x] = one
    different = {id(group): group for group in groups}.values()
    return [[pieces[x] for x in group] for group in different]


def agree(one: Piece, two: Piece) -> float:
    """How much of the smaller of two masks is in both, where their tiles overlap; 0 to 1."""
    left, top = np.maximum(one.tile[:2], two.tile[:2])
    right, bottom = np.minimum(one.tile[2:], two.tile[2:])
    if np.array_equal(one.tile, two.tile) or left >= right or top >= bottom:
        return 0.0
    a, b = (
        x.bitmap()[top - x.tile[1] : bottom - x.tile[1], left - x.tile[0] : right - x.tile[0]]
        for x in (one, two)
    )
    return float((a & b).sum()) / max(1, min(int(a.sum()), int(b.sum())))


def union(group: List[Piece], height: int, width: int) -> Dict:
    """The RLE (H, W) of the masks of pieces together."""
    tiles = np.stack([x.tile for x in group])
    left, top = tiles[:, :2].min(0)
    right, bottom = tiles[:, 2:].max(0)
    bitmap = np.zeros((bottom - top, right - left), np.uint8)
    for piece in group:
        x1, y1, x2, y2 = piece.tile - (left, top, left, top)
        bitmap[y1:y2, x1:x2] |= piece.bitmap()
    return place(bitmap, int(left), int(top), height, width)
