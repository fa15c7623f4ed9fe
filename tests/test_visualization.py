"""Pictures look as Detectron2 draws them, and take less memory."""

import tracemalloc

import matplotlib
import numpy as np
import pytest
from detectron2.structures import BoxMode
from detectron2.utils.visualizer import GenericMask, Visualizer
from pycocotools import mask as mask_util

from scnet.visualization import COLORS, draw_ground_truth, draw_objects, enlarge, lay_over


def draw_with_detectron2(pixels, boxes, masks, labels):
    """Draw with Visualizer's own functions alone, which take 16 bytes per pixel and mask."""
    scale = max(1.0, 512 / max(pixels.shape))
    visualizer = Visualizer(pixels[:, :, ::-1], scale=scale)
    for k in sorted(range(len(masks)), key=lambda k: masks[k].sum(), reverse=True):
        visualizer.draw_binary_mask(masks[k], COLORS[k], area_threshold=0)
    colors = list(COLORS[: len(masks)])
    drawn = visualizer.overlay_instances(boxes=boxes, labels=labels, assigned_colors=colors)
    return drawn.get_image()


def objects(height, width, count=6):
    """Disks, of which every third has a hole; one without pixels and one of two columns."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:height, :width]
    boxes, masks = [], []
    for k in range(count):
        cx, cy, r = (
            rng.uniform(0, width),
            rng.uniform(0, height),
            rng.uniform(5, min(height, width) / 2),
        )
        distance = np.hypot(x - cx, y - cy)
        masks.append((distance < r) & ((distance > r / 2) | (k % 3 > 0)))
        boxes.append([cx - r, cy - r, cx + r, cy + r])
    masks[-1][:] = False
    masks[-2][:] = False
    masks[-2][3:9, 2:4] = True
    return np.clip(boxes, 0, [width, height, width, height]).tolist(), masks


@pytest.mark.parametrize("size", [(600, 800), (512, 300), (300, 400), (64, 80), (50, 333)])
def test_as_detectron2_draws(size):
    """But for the rounding, and the borders of holes in images that are enlarged."""
    # Smooth, as Matplotlib before 3.11 may place an image one pixel away.
    slope = np.add.outer(np.arange(size[0]), np.arange(size[1])) * 0.18
    pixels = np.stack([slope, 255 - slope, slope / 2], 2).astype(np.uint8)
    boxes, masks = objects(*size)
    labels = [f"disk {k}0%" for k in range(len(masks))]
    expected = draw_with_detectron2(pixels, boxes, masks, labels)
    rles = [mask_util.encode(np.asfortranarray(mask)) for mask in masks]
    for given in (masks, rles):
        found = draw_objects(pixels, boxes, given, range(len(masks)), labels)
        assert found.shape == expected.shape and found.dtype == np.uint8
        difference = np.abs(found.astype(int) - expected).max(axis=2)
        exact = 1e-4 if matplotlib.__version_info__ >= (3, 11) else 2e-3
        assert (difference > 3).mean() < (0.02 if max(size) < 512 else exact)
        assert difference.mean() < 1


def test_polygons_and_uncompressed_rle_of_annotations():
    pixels, square = np.zeros((600, 600, 3), np.uint8), [100.0, 100, 300, 100, 300, 300, 100, 300]
    mask = GenericMask([square], 600, 600).mask
    runs = np.diff(np.flatnonzero(np.diff(np.pad(mask.T.ravel(), 1))), prepend=0)
    rle = {"size": [600, 600], "counts": [*runs.tolist(), 600 * 600 - int(runs.sum())]}
    pictures = []
    for segmentation in ([square], rle, mask_util.frPyObjects(rle, 600, 600)):
        annotation = {"bbox": [100, 100, 200, 200], "bbox_mode": BoxMode.XYWH_ABS}
        annotation.update(segmentation=segmentation, category_id=0)
        record = {"file_name": "a.png", "height": 600, "width": 600, "annotations": [annotation]}
        pictures.append(draw_ground_truth(pixels, record, ["square"]))
    assert pictures[0][200, 200].any()
    assert np.array_equal(pictures[0], pictures[1]) and np.array_equal(pictures[0], pictures[2])


def test_matplotlib_gets_no_image(monkeypatch):
    """Each would be copied several times in its full size, when it is drawn."""
    pixels, (boxes, masks) = np.zeros((600, 800, 3), np.uint8), objects(600, 800)
    drawn = []
    monkeypatch.setattr("matplotlib.image.AxesImage.draw", lambda *_: drawn.append(1))
    draw_objects(pixels, boxes, masks, range(len(masks)), [""] * len(masks))
    assert not drawn


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 12])
def test_memory_does_not_grow_with_the_masks(count):
    """In bytes per pixel; with all bitmaps or layers in memory it grows by 1 or 16 for each."""
    pixels, (boxes, masks) = np.zeros((1500, 2000, 3), np.uint8), objects(1500, 2000, count)
    rles = [mask_util.encode(np.asfortranarray(mask)) for mask in masks]
    del masks
    draw_objects(pixels[:600], boxes[:1], None, [0], ["x"])  # what is made once
    tracemalloc.start()
    draw_objects(pixels, boxes, rles, range(count), ["x"] * count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / (1500 * 2000) < 25


def test_colours_are_laid_over_each_other():
    picture = np.full((3000, 700, 3), 100, np.uint8)
    alpha = np.zeros((3000, 700), np.uint8)
    alpha[1000:2000], alpha[2000:] = 51, 255
    lay_over(picture, np.array([200, 100, 0]), alpha)
    assert [picture[k, 300].tolist() for k in (5, 1500, 2999)] == [
        [100, 100, 100],
        [120, 100, 80],
        [200, 100, 0],
    ]


def test_enlarged_pixels_are_squares():
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)
    large = enlarge(picture, 2.5, 4, 7)  # without the topmost of 5 rows, the last of 7.5 columns
    rows, columns = [0, 1, 1, 1], [0, 0, 1, 1, 1, 2, 2]
    assert np.array_equal(large, picture[rows][:, columns])
