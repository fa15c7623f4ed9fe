"""Tiles find what the whole image has, each object once."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_util

from scnet import Predictor
from scnet.inference.mask_formats import RLEMasks
from scnet.inference.tiles import Piece, Tiles, group_pieces, place, predict_tiles, union


@pytest.mark.parametrize("length", [1, 99, 100, 101, 180, 181, 1000])
@pytest.mark.parametrize("overlap", [0, 0.2, 0.5, 0.999])
def test_tiles_cover_the_image_and_overlap(length, overlap):
    starts = Tiles(100, overlap).starts(length)
    assert starts[0] == 0 and starts[-1] + 100 == max(length, 100)
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= 100 * (1 - overlap) + 1).all()


@pytest.mark.parametrize("tiles", [Tiles(0), Tiles(100, 1.0), Tiles(100, -0.1)])
def test_tiles_that_cannot_be(tiles):
    with pytest.raises(ValueError, match="must"):
        tiles.check()


def test_a_bitmap_is_placed_in_the_image():
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 30, 2)
        top, left = rng.integers(0, height), rng.integers(0, width)
        part = rng.random((rng.integers(1, height - top + 1), rng.integers(1, width - left + 1)))
        part = (part < rng.choice([0.3, 0.9, 2])).astype(np.uint8)
        full = np.zeros((height, width), np.uint8)
        full[top : top + len(part), left : left + part.shape[1]] = part
        rle = place(part, int(left), int(top), int(height), int(width))
        assert np.array_equal(mask_util.decode(rle), full)
        assert mask_util.area(rle) == full.sum()


def find_colors(tiles, masked=True):
    """A model without mistakes: blue tells the object, green its score, red its class."""
    for tile in tiles:
        assert tile.shape == (100, 100, 3)
        masks = [tile[:, :, 0] == k for k in np.unique(tile[:, :, 0]) if k]
        colors = [tile[mask][0] for mask in masks]
        boxes = [cv2.boundingRect(m.astype(np.uint8)) for m in masks]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in boxes]
        found = Instances((100, 100), pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)))
        # The more of an object a tile sees, the surer it is.
        scores = [c[1] / 255 * m.sum() / 10000 for c, m in zip(colors, masks)]
        found.scores = torch.tensor(scores)
        found.pred_classes = torch.tensor([int(c[2]) for c in colors], dtype=torch.int64)
        if masked:
            found.pred_masks = RLEMasks(mask_util.encode(np.asfortranarray(m)) for m in masks)
        yield found


@pytest.fixture
def picture():
    """Objects in one tile, in two, four and six tiles, side by side, and one in the other."""
    pixels = np.zeros((260, 400, 3), np.uint8)
    cv2.circle(pixels, (30, 30), 20, (1, 200, 3), -1)
    cv2.circle(pixels, (90, 40), 30, (2, 210, 3), -1)
    cv2.rectangle(pixels, (130, 60), (370, 120), (3, 220, 4), -1)
    cv2.rectangle(pixels, (150, 80), (180, 100), (4, 230, 3), -1)
    cv2.circle(pixels, (160, 200), 45, (5, 240, 1), 9)
    cv2.rectangle(pixels, (205, 150), (239, 259), (6, 250, 3), -1)
    cv2.rectangle(pixels, (240, 150), (300, 259), (7, 251, 3), -1)
    return pixels


@pytest.mark.parametrize("batch_size", [1, 4])
def test_each_object_is_found_once_and_whole(picture, batch_size):
    found = predict_tiles(find_colors, picture, Tiles(100, 0.3), batch_size)
    assert found.image_size == (260, 400)
    assert (found.scores.diff() <= 0).all()
    colors = [c for c in np.unique(picture.reshape(-1, 3), axis=0) if c.any()]
    expected = {(picture == c).all(axis=2).tobytes(): c for c in colors}
    assert len(found) == len(colors) == 7
    for k, rle in enumerate(found.pred_masks):
        mask = mask_util.decode(rle).astype(bool)
        color = expected.pop(mask.tobytes())
        assert found.pred_classes[k] == color[2]
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        assert found.pred_boxes.tensor[k].tolist() == [x, y, x + w, y + h]
    assert not expected


def piece(left, mask, score=0.5):
    rle = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
    x, y, w, h = mask_util.toBbox(rle)
    box = np.array([x + left, y, x + left + w, y + h])
    return Piece(np.array([left, 0, left + 100, 100]), box, 1, score, rle)


def test_masks_must_agree_where_tiles_overlap():
    """Two triangles fill one box; what a tile sees of an object may be a small part of it."""
    upper = np.triu(np.ones((100, 100)), 5)
    lower, sliver, part = 1 - np.triu(np.ones((100, 100)), -5), np.zeros((100, 100)), upper.copy()
    sliver[:10, :10] = 1
    part[:, :95] = 0
    other = np.zeros((100, 100))
    other[:, :30] = upper[:, 70:]
    assert len(group_pieces([piece(0, upper), piece(70, other)])) == 1
    assert len(group_pieces([piece(0, upper), piece(70, np.roll(lower, -70, axis=1))])) == 2
    assert len(group_pieces([piece(0, upper), piece(70, sliver)])) == 1
    assert len(group_pieces([piece(0, part), piece(70, other)])) == 1  # all of the smaller is in it
    assert len(group_pieces([piece(0, upper), piece(0, part)])) == 2  # of one tile
    another_class = piece(70, other)
    another_class.label = 2
    assert len(group_pieces([piece(0, upper), another_class])) == 2
    both = np.zeros((100, 170))
    both[:, :100], both[:10, 70:80] = upper, 1
    for order in ([piece(0, upper), piece(70, sliver)], [piece(70, sliver), piece(0, upper)]):
        assert np.array_equal(mask_util.decode(union(order, 100, 170)), both)


def test_without_overlap_parts_stay_parts(picture):
    assert len(predict_tiles(find_colors, picture, Tiles(100, 0), 1)) > 7


def test_a_model_without_masks():
    pixels = np.zeros((100, 220, 3), np.uint8)
    cv2.rectangle(pixels, (50, 30), (150, 60), (1, 200, 3), -1)
    cv2.rectangle(pixels, (70, 70), (200, 90), (2, 200, 3), -1)

    def find(tiles):
        return find_colors(tiles, masked=False)

    found = predict_tiles(find, pixels, Tiles(100, 0.3), 1)
    assert not found.has("pred_masks")
    boxes = sorted(found.pred_boxes.tensor.tolist())
    assert boxes == [[50, 30, 151, 61], [70, 70, 201, 91]]


def test_nothing_is_found():
    found = predict_tiles(find_colors, np.zeros((300, 200, 3), np.uint8), Tiles(100), 3)
    assert len(found) == 0 and len(found.pred_masks) == 0


def test_an_image_of_one_tile_is_predicted_as_it_is(weights, images):
    whole = Predictor(weights, masks="rle")(images[0])
    tiled = Predictor(weights, masks="rle", tiles=Tiles(100))(images[0])
    assert len(whole) == len(tiled) > 0
    assert torch.equal(whole.pred_boxes.tensor, tiled.pred_boxes.tensor)
    assert torch.equal(whole.pred_classes, tiled.pred_classes)
    for one, two in zip(whole.pred_masks, tiled.pred_masks):
        assert np.array_equal(mask_util.decode(one), mask_util.decode(two))


def test_tiles_need_rle(weights):
    with pytest.raises(ValueError, match="need masks='rle'"):
        Predictor(weights, tiles=Tiles(100))
