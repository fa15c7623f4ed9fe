"""The keys of the augmentations of training images."""

import numpy as np
import pytest
from detectron2.data import transforms as T

from scnet import SCNetDatasetMapper, get_cfg
from scnet.data.augmentation import add_augmentations


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.INPUT.LARGE_SCALE_JITTER.SIZE = 100
    return cfg


def sizes_of(augmentations, size=(30, 60), count=300):
    np.random.seed(0)
    image, sizes = np.zeros((*size, 3), np.uint8), []
    for _ in range(count):
        augmented = T.AugInput(image)
        T.AugmentationList(augmentations)(augmented)
        sizes.append(augmented.image.shape[:2])
    return np.array(sizes)


def test_large_scale_jitter(cfg):
    """A 30 x 60 image is 100 pixels wide at a share of 1, and is cut off there."""
    cfg.INPUT.LARGE_SCALE_JITTER.ENABLED = True
    sizes = sizes_of(add_augmentations(cfg, [T.ResizeShortestEdge(800)]))
    assert sizes[:, 1].max() == 100 and sizes[:, 1].min() <= 12
    # Of 0.1 to 2.0 the share of those below 1, which keep their form.
    whole = sizes[:, 1] < 100
    assert whole.mean() == pytest.approx(0.9 / 1.9, abs=0.1)
    np.testing.assert_allclose(sizes[whole, 0], sizes[whole, 1] / 2, atol=1)
    assert sizes[:, 0].max() > 90


def test_color_jitter_changes_colors_alone(cfg):
    cfg.INPUT.COLOR_JITTER = 0.4
    np.random.seed(0)
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    augmentations = add_augmentations(cfg, [])
    means = []
    for _ in range(200):
        augmented = T.AugInput(image, sem_seg=image[..., 0])
        T.AugmentationList(augmentations)(augmented)
        assert np.array_equal(augmented.sem_seg, image[..., 0])
        assert augmented.image.shape == image.shape and augmented.image.dtype == np.uint8
        means.append(augmented.image.mean() / image.mean())
    assert 0.5 < min(means) < 0.75 and 1.15 < max(means) < 1.5


def test_without_the_keys_nothing_changes(cfg):
    resize = T.ResizeShortestEdge(800)
    assert add_augmentations(cfg, [resize]) == [resize]


def test_only_in_training(cfg):
    cfg.INPUT.LARGE_SCALE_JITTER.ENABLED, cfg.INPUT.COLOR_JITTER = True, 0.3
    kinds = {
        is_train: [type(x) for x in SCNetDatasetMapper(cfg, is_train).augmentations.augs]
        for is_train in (True, False)
    }
    assert kinds[False] == [T.ResizeShortestEdge]
    color = [T.RandomBrightness, T.RandomContrast, T.RandomSaturation]
    assert kinds[True] == [T.ResizeScale, T.FixedSizeCrop, T.RandomFlip, *color]


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("LARGE_SCALE_JITTER.SCALES", (0.0, 2.0), r"SCALES is \(0.0, 2.0\) and SIZE 100"),
        ("LARGE_SCALE_JITTER.SCALES", (2.0, 0.1), "smallest and the largest share"),
        ("LARGE_SCALE_JITTER.SIZE", 0, "SIZE 0. They must be"),
        ("CROP.ENABLED", True, "Set INPUT.CROP.ENABLED False"),
        ("COLOR_JITTER", 1.0, "COLOR_JITTER is 1.0. It must be at least 0 and less than 1"),
        ("COLOR_JITTER", -0.1, "COLOR_JITTER is -0.1"),
    ],
)
def test_values_that_cannot_be(cfg, key, value, words):
    cfg.INPUT.LARGE_SCALE_JITTER.ENABLED = True
    cfg.merge_from_list([f"INPUT.{key}", value])
    with pytest.raises(ValueError, match=words):
        add_augmentations(cfg, [])
