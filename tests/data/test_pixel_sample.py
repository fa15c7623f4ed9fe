"""The pixel statistics that follow from the training images."""

import numpy as np
import pytest

from scnet import configure_for_datasets
from scnet.data.own_data import register_datasets


@pytest.fixture
def pixels(coco_set):
    """(N, 2), those of images of two channels, the second far from zero and nearly constant."""
    rng, images = np.random.default_rng(0), []
    for record in coco_set.content["images"]:
        record["file_name"] = record["file_name"].rsplit(".")[0] + ".npy"
        pixels = rng.normal((0.5, 30000), (0.2, 0.25), (*coco_set.SIZE, 2)).astype(np.float32)
        np.save(coco_set.images / record["file_name"], pixels)
        images.append(pixels)
    coco_set.write()
    return np.concatenate(images).reshape(-1, 2).astype(np.float64)


@pytest.fixture
def cfg(coco_set, tiny_cfg, pixels):
    tiny_cfg.DATASETS.TRAIN_JSON = (str(coco_set.json_file),)
    tiny_cfg.DATASETS.TRAIN_IMAGES = (str(coco_set.images),)
    tiny_cfg.INPUT.CHANNELS, tiny_cfg.INPUT.DTYPE = 2, "float32"
    register_datasets(tiny_cfg)
    return tiny_cfg


def test_mean_and_deviation_of_all_pixels(cfg, pixels):
    lines = configure_for_datasets(cfg)
    np.testing.assert_allclose(cfg.MODEL.PIXEL_MEAN, pixels.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(cfg.MODEL.PIXEL_STD, pixels.std(axis=0), rtol=1e-5)
    assert f"MODEL.PIXEL_MEAN {cfg.MODEL.PIXEL_MEAN}, MODEL.PIXEL_STD" in "\n".join(lines)
    assert "(measured in 3 of 3 images with INPUT.CHANNELS 2 and" in "\n".join(lines)


def test_what_is_given_stays(cfg):
    mean, std = [0.5, 30000.0], [1.0, 2.0]
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = mean, std
    lines = configure_for_datasets(cfg)  # as from the config.yaml of a training
    assert (mean, std) == (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    assert "PIXEL" not in "\n".join(lines)


def test_weights_of_images_that_are_not_divided(cfg, pixels):
    """The images vary after normalisation as ImageNet's did for the weights."""
    cfg.MODEL.WEIGHTS = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    configure_for_datasets(cfg)
    spread = pixels.std(axis=0) / cfg.MODEL.PIXEL_STD
    np.testing.assert_allclose(spread, (58.395 + 57.12 + 57.375) / 3, rtol=1e-3)


def test_a_channel_without_deviation_is_named(cfg, coco_set):
    for path in coco_set.images.rglob("*.npy"):
        pixels = np.load(path)
        pixels[:, :, 1] = 7
        np.save(path, pixels)
    with pytest.raises(ValueError, match="Channel 1 .from 0. has the same value in all pixels"):
        configure_for_datasets(cfg)


@pytest.mark.parametrize("choice", ["stop", "skip"])
def test_an_image_of_another_kind(cfg, coco_set, choice):
    np.save(coco_set.images / "a.npy", np.zeros((*coco_set.SIZE, 3), np.float32))
    cfg.DATALOADER.ON_BROKEN_IMAGE = choice
    if choice == "stop":
        with pytest.raises(ValueError, match="a.npy' has 3 channels of the type float32, but"):
            configure_for_datasets(cfg)
    else:
        assert "measured in 2 of 3" in "\n".join(configure_for_datasets(cfg))
