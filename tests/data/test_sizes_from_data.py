"""The sizes of images and anchors that follow from the objects of a data set."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from helpers import TINY, development_data
from scnet import (
    Predictor,
    SCNetDatasetMapper,
    configure_for_datasets,
    get_config_file,
    register_coco_json,
)
from scnet.config import read_cfg
from scnet.data.object_sizes import notes_on_sizes
from scnet.data.own_data import register_datasets
from scnet.data.sizes_from_data import choose_sizes, configure_sizes
from scnet.engine import Trainer, setup
from scnet_tools.train_net import argument_parser

CPU = get_config_file("scnet_MobileNetV2_FPN_own_data_cpu.yaml")


def objects(low, high, size=(600, 800), count=60):
    """Boxes (N, 4) with sides from ``low`` to ``high``, in images of that height and width."""
    sides = np.random.default_rng(0).uniform(low, high, (count, 2))
    return np.concatenate([sides, np.tile(size[::-1], (count, 1))], axis=1)


def write(folder, boxes):
    """A data set with five objects per image, at random places; the images are empty files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for k, (width, height, image_width, image_height) in enumerate(np.round(boxes).tolist()):
        image = {"id": k // 5, "file_name": f"{k // 5}.png", "width": int(image_width)}
        if k % 5 == 0:
            (folder / image["file_name"]).touch()
            images.append({**image, "height": int(image_height)})
        x, y = rng.uniform(0, [image_width - width, image_height - height])
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotations.append(
            {
                **{"id": k, "image_id": k // 5, "category_id": 1, "iscrowd": 0},
                **{"bbox": [x, y, width, height], "segmentation": [corners]},
            }
        )
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "apple"}]
    (folder / "set.json").write_text(json.dumps(content))
    return ["--train-json", str(folder / "set.json"), "--train-images", str(folder)]


def configured(json_file, images, *opts):
    """The config for own data, after it has seen the data, and what it says about that."""
    cfg = read_cfg(CPU, [*opts, "DATASETS.TRAIN_JSON", (str(json_file),)])
    cfg.DATASETS.TRAIN_IMAGES = (str(images),)
    register_datasets(cfg)
    return cfg, "\n".join(configure_for_datasets(cfg, opts[::2]))


def notes_of(cfg):
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    return notes_on_sizes(cfg, records, SCNetDatasetMapper(cfg, True).augmentations)


WHOLE, CROPPED = objects(100, 200), objects(15, 40, (1500, 2000))


@pytest.mark.parametrize("factor", [0.8, 3])
@pytest.mark.parametrize("boxes", [WHOLE, CROPPED], ids=["whole", "cropped"])
def test_what_the_model_sees_does_not_depend_on_the_resolution(boxes, factor):
    """Images and objects that are twice as large are shrunk twice as much."""
    once, again = choose_sizes(boxes), choose_sizes(factor * boxes)
    assert again.crop == pytest.approx(factor * once.crop)
    np.testing.assert_allclose(again._replace(crop=0), once._replace(crop=0))


def test_images_are_whole_where_objects_are_large():
    chosen = choose_sizes(WHOLE)
    assert chosen.crop == 0 and chosen.train == chosen.test
    assert chosen.test * chosen.test * 800 / 600 == pytest.approx(320**2)
    assert chosen.seen == pytest.approx(
        np.median(np.sqrt(WHOLE[:, 0] * WHOLE[:, 1])) * chosen.test / 600
    )


def test_crops_show_small_objects_as_large_as_tests_do():
    chosen = choose_sizes(CROPPED)
    assert chosen.train / chosen.crop == pytest.approx(chosen.test / 1500)
    assert chosen.train == pytest.approx(320)
    assert chosen.seen < 64  # in tests the whole image must be affordable
    assert chosen.test * chosen.test * 2000 / 1500 == pytest.approx(1280**2)
    small = choose_sizes(objects(15, 40, (450, 600)))
    assert (small.crop, small.test) == (160, pytest.approx(900))  # enlarged twice, not more
    assert choose_sizes(objects(40, 60, (900, 900))).seen == pytest.approx(64)


def test_large_objects_fit_into_crops():
    """Where they would not, images are smaller, and whole in the end."""
    some = np.concatenate([objects(20, 30, (900, 1200)), objects(290, 310, (900, 1200), count=20)])
    crop = choose_sizes(some).crop
    assert crop == pytest.approx(2 * np.percentile(some[:, :2].max(axis=1), 90))
    more = np.concatenate([some, objects(590, 610, (900, 1200), count=20)])
    assert choose_sizes(more).crop == 0
    assert choose_sizes(some, may_crop=False).crop == 0


def test_crops_of_images_that_are_too_narrow_for_them():
    chosen = choose_sizes(objects(10, 20, (120, 1600)))
    assert (chosen.crop, chosen.train) == (120, pytest.approx(chosen.test))


def test_small_images_are_enlarged_twice_at_most():
    chosen = choose_sizes(objects(10, 20, (50, 60)))
    assert (chosen.crop, chosen.test) == (0, pytest.approx(100))


def test_objects_of_small_images_are_seen_as_large_as_those_of_others():
    """Images are resized by their short sides."""
    some = objects(100, 200)
    mixed = np.concatenate([some, some / 2, some * 2])
    assert choose_sizes(mixed).test == pytest.approx(choose_sizes(some).test)


@pytest.mark.parametrize(
    "boxes",
    [
        *(WHOLE, objects(8, 20, (450, 600)), objects(300, 580), objects(20, 200)),
        *(objects(3, 6, (64, 64)), objects(40, 60, (200, 1600)), objects(10, 20, (120, 1600))),
        np.concatenate([objects(50, 100), objects(100, 200, (1200, 1000))]),
    ],
    ids=["photos", "small", "large", "both", "icons", "panoramas", "strips", "two cameras"],
)
def test_nothing_is_to_be_said_about_the_sizes(boxes, tmp_path):
    write(tmp_path, boxes)
    cfg, _ = configured(tmp_path / "set.json", tmp_path)
    assert notes_of(cfg) == []
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert read_cfg(tmp_path / "config.yaml") == cfg


@pytest.mark.parametrize(
    "json_file, images, anchors",
    [
        ("nuclei/instances_train.json", "nuclei/train", [8, 128]),
        ("coco/annotations/instances_train2017.json", "coco/train2017", [8, 128]),
    ],
)
def test_real_data(json_file, images, anchors):
    folder = development_data() / "datasets"
    cfg, _ = configured(folder / json_file, folder / images)
    assert notes_of(cfg) == []
    sizes = np.ravel(cfg.MODEL.ANCHOR_GENERATOR.SIZES)
    assert (len(sizes), [sizes.min(), sizes.max()]) == (5, anchors)


def test_what_was_chosen_is_said_and_what_was_given_is_kept(tmp_path):
    write(tmp_path, WHOLE)
    paths = tmp_path / "set.json", tmp_path
    cfg, said = configured(*paths, "INPUT.MIN_SIZE_TEST", 300)
    assert cfg.INPUT.MIN_SIZE_TRAIN == (222, 277, 346)
    assert (cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.CROP.ENABLED) == (692, False)
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (300, 554)
    assert cfg.TEST.AUG.MIN_SIZES == (222, 277, 346)
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[16], [32], [64], [128], [256]]
    assert not cfg.INPUT.SIZES_FROM_DATA
    for line in (
        "the 60 objects have 148 pixels (median of the roots of the areas of their boxes), and the "
        "model is to see them with 68:",
        "INPUT.MIN_SIZE_TRAIN (222, 277, 346) (by the objects)",
        "INPUT.MIN_SIZE_TEST 300 (as it was given)",
    ):
        assert line in said
    assert "CROP.SIZE" not in said


@pytest.mark.parametrize("key", ["INPUT.CROP.ENABLED", "INPUT.LARGE_SCALE_JITTER.ENABLED"])
def test_no_crops_where_there_can_be_none(key, tmp_path):
    write(tmp_path, CROPPED)
    paths = tmp_path / "set.json", tmp_path
    assert configured(*paths)[0].INPUT.CROP.ENABLED
    cfg, _ = configured(*paths, key, key != "INPUT.CROP.ENABLED")
    assert not cfg.INPUT.CROP.ENABLED and cfg.INPUT.MIN_SIZE_TRAIN[1] == cfg.INPUT.MIN_SIZE_TEST


def run_setup(output, data, config=CPU, flags=()):
    arguments = ["--config-file", str(config), *data, *flags, *TINY, "OUTPUT_DIR", str(output)]
    return setup(argument_parser().parse_args(arguments))


def test_a_run_goes_on_with_the_sizes_that_it_has_begun_with(tmp_path):
    """With its own config or that of its start, also if the data has changed."""
    data = write(tmp_path / "a", WHOLE)
    begun = run_setup(tmp_path / "out", data)
    (tmp_path / "out/last_checkpoint").write_text("model_0000001.pth")
    other = write(tmp_path / "a", objects(15, 40))
    assert run_setup(tmp_path / "new", other).INPUT.CROP.ENABLED
    for config in (CPU, tmp_path / "out/config.yaml"):
        assert run_setup(tmp_path / "out", other, config, ["--resume"]) == begun
    log = (tmp_path / "out/log.txt").read_text()
    assert "INPUT.MIN_SIZE_TRAIN (222, 277, 346) (as the run has begun)" in log
    assert "goes on with another config" not in log


def test_data_that_is_registered(tmp_path):
    write(tmp_path, WHOLE)
    register_coco_json(str(tmp_path), tmp_path / "set.json", tmp_path)
    opts = ["DATASETS.TRAIN", f"('{tmp_path}',)", "DATASETS.TEST", "()"]
    assert run_setup(tmp_path / "out", opts).INPUT.MIN_SIZE_TRAIN == (222, 277, 346)


def test_sizes_that_were_not_chosen_are_refused(tmp_path):
    cfg = read_cfg(CPU, ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)])
    cfg.DATASETS.TRAIN = ("scnet_shapes_train",)
    words = "INPUT.SIZES_FROM_DATA is True, but the sizes .* give the config.yaml of its training"
    with pytest.raises(ValueError, match=words):
        Trainer(cfg)
    with pytest.raises(ValueError, match=words):
        Predictor("model.pth", cfg)
    assert not list(tmp_path.iterdir())


def test_data_without_objects_or_json(tmp_path):
    write(tmp_path, objects(0.1, 0.2))  # rounded to boxes without an area
    cfg = read_cfg(CPU)
    cfg.DATASETS.TRAIN_JSON = (str(tmp_path / "set.json"),)
    cfg.DATASETS.TRAIN_IMAGES = (str(tmp_path),)
    register_datasets(cfg)
    with pytest.raises(ValueError, match="SIZES_FROM_DATA.* have no objects that could be trained"):
        configure_sizes(cfg)
    DatasetCatalog.register(str(tmp_path), list)
    cfg.DATASETS.TRAIN = (str(tmp_path),)
    with pytest.raises(ValueError, match="the data set '.*' has no json file .* Set it to False"):
        configure_sizes(cfg)
