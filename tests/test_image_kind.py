"""Images of other kinds than colours of 8 bits: how they are resized, augmented and shown."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T

from scnet.data.augmentation import add_augmentations
from scnet.image_kind import ImageKind, to_bgr, to_rgb
from scnet.modeling.test_time_augmentation import MultiScaleFlip
from scnet.resizing import transform_image


@pytest.fixture
def colours():
    """A smooth image (60, 80, 3) uint8 with fine stripes, which alias without a filter."""
    y, x = np.mgrid[:60, :80]
    image = np.stack([x * 3, y * 4, (x % 2) * 200], axis=2)
    return image.astype(np.uint8)


@pytest.mark.parametrize("size", [(20, 30), (90, 100)])
def test_resized_as_pillow_resizes_colours(colours, size):
    resize = T.ResizeTransform(60, 80, *size)
    expected = resize.apply_image(colours).astype(float)
    for channels in (1, 3, 4, 5):
        repeated = np.concatenate([colours, colours], axis=2)[:, :, :channels]
        for image in (repeated, repeated.astype(np.float32)):
            found = transform_image([resize], image)
            assert found.dtype == image.dtype and found.shape == (*size, channels)
            wanted = np.concatenate([expected, expected], axis=2)[:, :, :channels]
            np.testing.assert_allclose(found.astype(float), wanted, atol=1)


def test_a_fourth_channel_is_no_transparency(colours):
    """Pillow makes colours black where it is zero."""
    image = np.concatenate([colours, np.zeros_like(colours[:, :, :1])], axis=2)
    resize = T.ResizeTransform(60, 80, 30, 40)
    assert resize.apply_image(image)[:, :, :3].max() == 0
    np.testing.assert_array_equal(
        transform_image([resize], image)[:, :, :3],
        transform_image([resize], np.concatenate([image, image], axis=2))[:, :, :3],
    )


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_versions_at_test_time_are_resized_and_flipped_alike(colours, channels, dtype):
    image = np.concatenate([colours, colours], axis=2)[:, :, :channels]
    given = {"image": torch.as_tensor(image).permute(2, 0, 1).to(dtype), "height": 60, "width": 80}
    plain, flipped = MultiScaleFlip(scales=[(30, 60)], flip=True)(given)
    resized = T.ResizeTransform(60, 80, 30, 40).apply_image(colours)[:, :, 0].astype(float)
    assert plain["image"].dtype == dtype and plain["image"].shape == (channels, 30, 40)
    np.testing.assert_allclose(plain["image"][0].numpy().astype(float), resized, atol=1)
    assert torch.equal(flipped["image"], plain["image"].flip(2))
    assert torch.equal(given["image"], torch.as_tensor(image).permute(2, 0, 1).to(dtype))


@pytest.mark.parametrize("kind", [ImageKind(1), ImageKind(3, "uint16"), ImageKind(5, "float32")])
def test_color_jitter_keeps_type_and_channels(tiny_cfg, kind):
    tiny_cfg.INPUT.COLOR_JITTER, tiny_cfg.INPUT.CHANNELS = 0.5, kind.channels
    augmentations = add_augmentations(tiny_cfg, [])
    image = kind.blank(4, 6) + kind.blank(1, 1).dtype.type(90)
    for augmentation in augmentations:
        changed = transform_image([augmentation.get_transform(image)], image)
        assert changed.dtype == image.dtype and changed.shape == (4, 6, kind.channels)


@pytest.mark.filterwarnings("error")
def test_pictures_of_other_kinds():
    image = np.zeros((2, 2, 5), np.float32)
    image[0, :, :3] = (3000, 2000, 1000)
    picture = to_bgr(image)
    assert picture.dtype == np.uint8 and picture[1].max() == 0
    assert picture[0, 0].tolist() == [85, 170, 255] == to_rgb(image, "RGB")[0, 0, ::-1].tolist()
    gray = to_bgr(np.arange(4, dtype=np.float32).reshape(2, 2, 1))
    assert (gray == gray[:, :, :1]).all() and gray.min() == 0 and gray.max() == 255
    assert to_bgr(np.ones((2, 2, 1), np.uint8)).tolist() == np.ones((2, 2, 3)).tolist()
    assert to_bgr(np.full((2, 2, 2), 7.0, np.float32)).tolist() == np.zeros((2, 2, 3)).tolist()
    colours = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert to_bgr(colours) is colours
    assert np.array_equal(to_rgb(colours, "RGB"), colours)
    assert np.array_equal(to_rgb(colours, "BGR"), colours[:, :, ::-1])


@pytest.mark.parametrize(
    "opts, words",
    [
        (["INPUT.DTYPE", "uint12"], r"INPUT.DTYPE is 'uint12'. It must be one of \['uint8'"),
        (["INPUT.CHANNELS", 0], "INPUT.CHANNELS is 0"),
        (["INPUT.CHANNELS", 4, "INPUT.FORMAT", "BGR"], "INPUT.FORMAT is 'BGR', but 4 channels"),
        (["INPUT.CHANNELS", 4], "PIXEL_MEAN has 3 values, but INPUT.CHANNELS is 4. A training"),
        (["MODEL.PIXEL_STD", [1.0]], "PIXEL_STD has 1 values, but INPUT.CHANNELS is 3"),
        (["INPUT.DTYPE", "uint16"], "PIXEL_MEAN is .*, of 8 bits, but INPUT.DTYPE is uint16"),
        (["MODEL.PIXEL_STD", [1.0, 0.0, 1.0]], "It must be above 0"),
    ],
)
def test_keys_that_do_not_go_together(tiny_cfg, make_model, opts, words):
    tiny_cfg.merge_from_list(opts)
    with pytest.raises(ValueError, match=words):
        make_model(tiny_cfg)


def test_an_image_of_other_channels_is_refused(tiny_cfg, make_model, make_batch):
    """A single channel would become three without a word."""
    model, batch = make_model(tiny_cfg).eval(), make_batch(tiny_cfg, [[]])
    batch[0]["image"] = batch[0]["image"][:1]
    with pytest.raises(ValueError, match=r"shape \(1, 64, 80\), but the model takes 3 channels"):
        model(batch)
