"""Notes about objects that are cut, or of other sizes in training than in tests or anchors."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from helpers import development_data
from scnet import SCNetDatasetMapper, get_config_file
from scnet.config import read_cfg
from scnet.data.object_sizes import measure, notes_on_sizes


def record(*sides, size=(600, 800), iscrowd=0):
    """An image with objects that are squares, in its middle."""
    boxes = [[(size[1] - side) / 2, (size[0] - side) / 2, side, side] for side in sides]
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": iscrowd} for box in boxes
    ]
    return {"height": size[0], "width": size[1], "annotations": annotations}


def notes_of(config, records, *opts):
    cfg = read_cfg(get_config_file(config), opts)
    return notes_on_sizes(cfg, records, SCNetDatasetMapper(cfg, True).augmentations)


FRUITS = [record(140, 150, 160)] * 18  # photos of 800 x 600


def test_crops_that_no_object_fits_into():
    cut, other = notes_of("nuclei.yaml", FRUITS)
    assert "leave less than half of 100% of the objects" in cut and "INPUT.CROP.ENABLED" in cut
    assert "pixels in training and 128 in tests" in other


@pytest.mark.parametrize("config", ["scnet_R_50_FPN_own_data.yaml", "quickstart.yaml"])
def test_configs_that_fit_are_not_named(config):
    assert notes_of(config, FRUITS) == []


@pytest.mark.parametrize(
    "test_size, named", [(128, False), (185, False), (200, True), (90, False), (80, True)]
)
def test_half_as_large_again_is_too_much(test_size, named):
    """In the quick start, whose images have a short side of 128 pixels in training."""
    opts = ("INPUT.MIN_SIZE_TEST", test_size, "INPUT.MAX_SIZE_TEST", 1000)
    notes = notes_of("quickstart.yaml", FRUITS, *opts)
    assert [f"32 pixels in training and {test_size // 4} in tests" in x for x in notes] == (
        [True] * named
    )


@pytest.mark.parametrize(
    "side, anchors, word",
    [
        (20, [16, 256], "smaller"),
        (60, [16, 256], ""),
        (590, [16, 256], ""),
        (590, [16, 64], "larger"),
        (50, [8], ""),
        (100, [8], "larger"),
    ],
)
def test_anchors(side, anchors, word):
    """An object of 100 pixels has 21 in training."""
    opts = ("MODEL.ANCHOR_GENERATOR.SIZES", [anchors])
    notes = notes_of("quickstart.yaml", [record(side)] * 3, *opts)
    words = f"100% of the objects are much {word} than the anchors, which have {anchors[0]} to "
    assert len(notes) == bool(word) and all(words in x for x in notes)


def test_a_quarter_of_the_objects_may_be_beyond_the_anchors():
    some = [record(100, 100, 100, 20)] * 3
    assert notes_of("quickstart.yaml", some) == []
    assert notes_of("quickstart.yaml", [*some, record(20)])


def test_what_is_left_of_objects():
    """The left half of the image is kept, at twice its size."""
    half = T.AugmentationList(
        [T.CropTransform(0, 0, 50, 80, 100, 80), T.ResizeTransform(80, 50, 160, 100)]
    )
    boxes = [[10, 10, 20, 5], [40, 0, 40, 80], [60, 0, 10, 10]]
    objects = [{"bbox": b, "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": 0} for b in boxes]
    found = measure([{"height": 80, "width": 100, "annotations": objects}], half)
    np.testing.assert_allclose(found.sizes, [20, 2 * np.sqrt(3200)])
    np.testing.assert_allclose(found.left, [1, 0.25])


def test_what_is_not_counted():
    """Crowds, images without objects, and more images than are looked at."""
    records = [record(10, iscrowd=1), record(), {"height": 9, "width": 9}, record(30)]
    assert measure(records, T.AugmentationList([])).sizes.tolist() == [30]
    assert notes_of("quickstart.yaml", records[:3]) == []
    assert 40 <= len(measure([record(30)] * 500, T.AugmentationList([])).sizes) <= 50


def test_random_numbers_stay_as_they_are():
    np.random.seed(3)
    expected = np.random.uniform()
    np.random.seed(3)
    notes_of("nuclei.yaml", FRUITS)
    assert np.random.uniform() == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "config, folder",
    [
        ("nuclei.yaml", "nuclei/instances_train.json"),
        ("scnet_R_50_FPN_own_data.yaml", "nuclei/instances_train.json"),
        ("scnet_R_50_FPN_1x_coco.yaml", "coco/annotations/instances_train2017.json"),
    ],
)
def test_real_data_goes_with_its_config(config, folder):
    from detectron2.data.datasets import load_coco_json

    json_file = development_data() / "datasets" / folder
    assert json_file.exists(), list(json_file.parent.iterdir())
    assert notes_of(config, load_coco_json(str(json_file), "")) == []
