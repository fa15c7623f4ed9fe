"""Pictures show what there is, in colours and sizes that can be read, and take little memory."""

import logging
import tracemalloc

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.visualizer import GenericMask
from pycocotools import mask as mask_util

from scnet import lettering
from scnet.visualization import (
    COLORS,
    add_caption,
    draw_detections,
    draw_ground_truth,
    draw_objects,
    label_height,
    label_place,
)


def disk(height, width, x, y, outer, inner=0):
    distance = np.hypot(*np.ogrid[-y : height - y, -x : width - x])
    return (distance < outer) & (distance >= inner)


def half(color, pixel=0):
    return (np.asarray(COLORS[color]) * 255 + pixel) / 2


@pytest.mark.parametrize("size", [(600, 800), (512, 300), (100, 75)])
def test_a_mask_is_half_its_colour_and_holes_stay(size):
    height, width = size
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    x, y, side = width // 2, height // 2, min(size)
    mask = disk(height, width, x, y, 0.4 * side, 0.2 * side)
    picture = draw_objects(pixels, [[0, 0, width, height]], [mask], [3], [""])
    scale = len(picture) // height
    assert picture.shape == (height * scale, width * scale, 3)
    assert scale == 1 or 512 <= max(picture.shape) < 1024
    found = picture[scale // 2 :: scale, scale // 2 :: scale]  # in the middle of each pixel
    image = pixels[:, :, ::-1]
    inside = disk(height, width, x, y, 0.37 * side, 0.23 * side)
    hole = disk(height, width, x, y, 0.17 * side)
    np.testing.assert_allclose(found[inside], half(3, image[inside]), atol=1)
    assert np.array_equal(found[hole], image[hole])


def test_holes_and_parts_have_outlines():
    mask = disk(600, 600, 300, 300, 200, 100)
    picture = draw_objects(
        np.zeros((600, 600, 3), np.uint8), [[100, 100, 500, 500]], [mask], [2], [""]
    )
    for x in (101, 201, 399, 499):  # of the ring, from left to right
        line = picture[300, x - 3 : x + 4].max(axis=0)
        np.testing.assert_allclose(line, np.asarray(COLORS[2]) * 255, atol=20)


def test_small_masks_are_seen_in_large_ones():
    large, small = disk(600, 600, 300, 300, 200), disk(600, 600, 300, 300, 50)
    for order in ([large, small], [small, large]):
        colors = [1, 2] if order[0] is large else [2, 1]
        boxes = [[100, 100, 500, 500], [250, 250, 350, 350]][:: 1 if order[0] is large else -1]
        picture = draw_objects(np.zeros((600, 600, 3), np.uint8), boxes, order, colors, ["", ""])
        np.testing.assert_allclose(picture[300, 300], half(2, half(1)), atol=2)


def test_a_class_has_one_colour_whatever_else_there_is():
    """In each image, and for each object of it."""
    pixels, seen = np.zeros((600, 600, 3), np.uint8), []
    for classes in ([7], [2, 7, 7], [7, 79, 7]):
        boxes = torch.tensor(
            [[20.0 + 190 * k, 200, 160 + 190 * k, 400] for k in range(len(classes))]
        )
        found = Instances((600, 600), pred_boxes=Boxes(boxes), pred_classes=torch.tensor(classes))
        found.scores = torch.ones(len(classes))
        found.pred_masks = torch.zeros((len(classes), 600, 600), dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(found.pred_masks, boxes.int().tolist()):
            mask[y1:y2, x1:x2] = True
        picture = draw_detections(pixels, found, [f"c{k}" for k in range(80)])
        seen += [tuple(picture[300, 90 + 190 * k]) for k, c in enumerate(classes) if c == 7]
    assert len(seen) == 5 and len(set(seen)) == 1


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


def test_objects_without_pixels_and_outside_the_image():
    pixels = np.zeros((600, 600, 3), np.uint8)
    boxes = [[5, 5, 5, 5], [-50, -50, 10, 10], [590, 590, 700, 700]]
    masks = [np.zeros((600, 600), bool)] * 3
    assert draw_objects(pixels, boxes, masks, [0, 1, 2], ["a", "b", "c"]).any()
    assert not draw_objects(pixels, [], [], [], []).any()


@pytest.mark.parametrize("count", [2, 30])
def test_memory_does_not_grow_with_the_masks(count):
    """In bytes per pixel; with all bitmaps in memory it would grow by 1 for each."""
    size = (600, 900)
    masks = [disk(*size, 100 + 25 * k, 300, 250, 60 * (k % 2)) for k in range(count)]
    rles = [mask_util.encode(np.asfortranarray(mask)) for mask in masks]
    del masks
    pixels, boxes = np.zeros((*size, 3), np.uint8), [[0, 0, 500, 500]] * count
    draw_objects(pixels[:300], boxes[:1], None, [0], ["x"])  # what is made once
    tracemalloc.start()
    draw_objects(pixels, boxes, rles, range(count), ["x"] * count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / (size[0] * size[1]) < 12


def test_labels_are_larger_in_larger_pictures():
    """A picture that is seen 1200 pixels wide has letters of at least 10 pixels there."""
    for height, width in ((512, 512), (427, 640), (2160, 3840), (4320, 7680), (20000, 20000)):
        assert label_height(height, width) * min(1, 1200 / width) >= 12
    assert label_height(50, 512) == 16


def test_labels_cover_no_other_where_there_is_room():
    taken = np.zeros((0, 4))
    for _ in range(8):
        place = label_place(np.array([200, 200, 500, 400]), (16, 90), (600, 600), taken)
        overlaps = (taken[:, :2] < place[2:]) & (taken[:, 2:] > place[:2])
        assert not overlaps.all(axis=1).any()
        taken = np.vstack([taken, place])
    assert label_place(np.array([200, 200, 500, 400]), (16, 90), (600, 600), taken) == [
        *(200, 184, 290, 200)
    ]


@pytest.mark.parametrize("box", [[0, 0, 20, 20], [580, 590, 600, 600], [-5, 300, 10, 320]])
def test_labels_are_within_the_picture(box):
    left, top, right, bottom = label_place(np.array(box), (16, 90), (600, 600), np.zeros((0, 4)))
    assert left >= 0 and top >= 0 and right <= 600 and bottom <= 600
    assert (right - left, bottom - top) == (90, 16)


def test_a_label_in_a_picture_that_is_narrower():
    picture = draw_objects(
        np.zeros((600, 20, 3), np.uint8), [[0, 99, 9, 200]], None, [0], ["x" * 99]
    )
    assert picture.shape == (600, 20, 3) and picture[60:99].any()


@pytest.fixture
def fonts(monkeypatch):
    """Sets the fonts of the system."""
    cached = (lettering.find_font, lettering._drawable_names, lettering.system_fonts)

    def fonts(paths):
        for function in cached:
            function.cache_clear()
        monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: paths)

    yield fonts
    monkeypatch.undo()
    fonts([])
    monkeypatch.undo()


def test_a_name_without_a_font_is_a_number_and_said_once(fonts, tmp_path, caplog):
    (tmp_path / "Broken.ttf").write_text("no font")
    fonts([str(tmp_path / "Broken.ttf")])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert lettering.drawable_names(["cat", "猫", "chaise\n é"]) == [
                "cat",
                "class 2",
                "chaise\n é",
            ]
    assert len(caplog.records) == 1
    assert "'猫' is 'class 2'" in caplog.text and "fonts-noto-cjk" in caplog.text


def test_the_plainest_font_that_has_the_characters_is_used(fonts, tmp_path, monkeypatch):
    names = ["A-Bold.ttf", "B-Emoji.ttf", "C.ttf", "D-Serif.ttf", "E.ttf"]
    fonts([str(tmp_path / name) for name in names])
    has = {"A-Bold.ttf": "猫", "B-Emoji.ttf": "猫 1", "D-Serif.ttf": "猫 1", "E.ttf": "猫 1"}
    monkeypatch.setattr(
        lettering, "characters", lambda path: frozenset(map(ord, has.get(path.split("/")[-1], "")))
    )
    assert lettering.find_font(frozenset("猫 1")) == str(tmp_path / "E.ttf")
    assert lettering.find_font(frozenset("犬")) is None


def test_text_of_the_system_and_without_a_font(fonts):
    fonts([])
    drawn = [lettering.draw_text(text, 20) for text in ("cat", "猫", "?", "cat cat", "", "c\na\tt")]
    assert all(len(x) == 20 for x in drawn)
    assert np.array_equal(drawn[1], drawn[2]) and not np.array_equal(drawn[0], drawn[2])
    assert drawn[3].shape[1] > 1.8 * drawn[0].shape[1]
    assert drawn[0].max() == 255 and not drawn[4].any()


def test_captions_fit():
    picture = np.zeros((50, 300, 3), np.uint8)
    for caption in ("two", "a long name " * 20):
        panel = add_caption(caption, picture)
        assert panel.shape == (82, 308, 3)
        assert (panel[:32] < 160).any() and (panel[:32, [0, -1]] == 255).all()
        assert not panel[32:, 4:-4].any()
