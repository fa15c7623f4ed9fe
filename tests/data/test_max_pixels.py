"""INPUT.MAX_PIXELS: how many pixels an image may have, whoever reads it."""

import threading

import cv2
import pytest
from PIL import Image

from helpers import NAMES
from scnet.config import MAX_PIXELS
from scnet.data import SCNetDatasetMapper, convert_image, image, read_image, semantic_targets
from scnet.data.validation.check_image_files import check_image_files
from scnet.data.validation.report import Report
from scnet.image_kind import COLOUR
from scnet.inference.comparison import compare_models
from scnet.inference.find_inputs import find_inputs
from scnet.inference.inputs import frames_of

GRAY = Image.new("L", (8, 6), 200)


def refused():
    return pytest.raises(ValueError, match=r"a\.\w+': .*48 pixels.* limit is INPUT.MAX_PIXELS")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp", "a.bmp"])
def test_the_key_decides_and_not_pillow(tmp_path, monkeypatch, name):
    """Whether it is below or above the limit that the program has given to Pillow."""
    path = str(tmp_path / name)
    GRAY.save(path)
    for of_pillow in (10, None, 1000):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", of_pillow)
        assert read_image(path, max_pixels=48).shape == (6, 8, 3)
        with refused():
            read_image(path, max_pixels=46)
        assert of_pillow == Image.MAX_IMAGE_PIXELS


def test_by_default_pillows_limit_is_left_alone(tmp_path, monkeypatch):
    """And no file has to wait for another one."""
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
    GRAY.save(tmp_path / "a.png")
    monkeypatch.setattr(image, "_PILLOWS_LIMIT", None)
    assert read_image(str(tmp_path / "a.png")).shape == (6, 8, 3)


def test_a_thread_waits_until_another_has_put_the_limit_back(tmp_path):
    GRAY.save(tmp_path / "a.png")
    before, sizes, path = Image.MAX_IMAGE_PIXELS, [], str(tmp_path / "a.png")
    thread = threading.Thread(target=lambda: sizes.append(read_image(path, max_pixels=200).shape))
    with image.limit_of_pixels(100):
        thread.start()
        thread.join(0.1)
        assert not sizes
    thread.join()
    assert sizes == [(6, 8, 3)] and before == Image.MAX_IMAGE_PIXELS


def test_images_of_pillow(tmp_path, monkeypatch):
    GRAY.save(tmp_path / "a.tif", compression="tiff_lzw")
    with Image.open(tmp_path / "a.tif") as given:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        assert convert_image(given, max_pixels=48).shape == (6, 8, 3)


def test_the_training_the_check_and_semantic_maps(coco_set, tiny_cfg):
    """The image of 40 x 60 pixels may have so many and not fewer."""
    record = {"file_name": str(coco_set.images / "a.png"), "annotations": []}
    record.update(zip(("height", "width"), cv2.imread(record["file_name"]).shape[:2]))
    pixels = record["height"] * record["width"]
    for allowed in (pixels, pixels - 2):
        tiny_cfg.INPUT.MAX_PIXELS = allowed
        mapper, report = SCNetDatasetMapper(tiny_cfg, False), Report()
        list(check_image_files([record], mapper, report, {}))
        if allowed == pixels:
            assert not any(report.errors.values())
            mapper(record)
    assert "INPUT.MAX_PIXELS" in str(report.errors["unreadable image"])
    with pytest.raises(ValueError, match="a.png.*INPUT.MAX_PIXELS"):
        mapper(record)


def test_a_semantic_map(tmp_path):
    path = str(tmp_path / "a.png")
    Image.new("L", (8, 6)).save(path)
    assert not semantic_targets.from_stuffthingmap(path, (6, 8), 2, 255, 48).any()
    with refused():
        semantic_targets.from_stuffthingmap(path, (6, 8), 2, 255, 46)
    Image.new("RGB", (8, 6)).save(path)
    with refused():
        semantic_targets.from_panoptic(path, [], (6, 8), 255, 46)


def test_the_inputs_of_a_prediction(tmp_path):
    GRAY.save(tmp_path / "a.png")
    for source in (tmp_path, tmp_path / "a.png", tmp_path / "*.png"):
        [frame] = frames_of(find_inputs([str(source)], 48))
        assert frame.pixels.shape == (6, 8, 3)
        with refused():
            list(frames_of(find_inputs([str(source)], 46)))


def test_the_comparison(tmp_path, monkeypatch):
    """The images are read as the model of the lowest limit allows."""
    GRAY.save(tmp_path / "a.png")

    class Backend:
        max_pixels = 46

    class Model:
        backend, names, kind = Backend(), NAMES, COLOUR

    monkeypatch.setattr(
        "scnet.inference.comparison.read_models", lambda *_: ({"x": Model()}, NAMES)
    )
    with refused():
        compare_models([("x", "", "")], [str(tmp_path / "a.png")], str(tmp_path / "out"))
