"""--val-fraction: one json file becomes two, fairly, and the same two every time."""

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scnet import get_cfg
from scnet.data.stratification import stratify
from scnet.data.validation_split import split_training_set
from scnet.engine import setup
from scnet_tools import check_dataset
from scnet_tools.train_net import argument_parser

SHARES = st.sampled_from([(0.8, 0.2), (0.5, 0.5), (0.9, 0.1), (0.2,) * 5])


@given(st.lists(st.integers(0, 4), max_size=60), SHARES, st.integers(0, 3))
def test_each_class_is_divided_to_the_image(classes, shares, seed):
    """With one class per image nothing is in the way."""
    parts = stratify([[x] for x in classes], shares, seed)
    assert len(parts) == len(classes) and set(parts) <= set(range(len(shares)))
    assert parts == stratify([[x] for x in classes], shares, seed)
    for x in set(classes):
        members = [part for part, y in zip(parts, classes) if y == x]
        for part, share in enumerate(shares):
            assert abs(members.count(part) - share * len(members)) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_classes_that_are_in_images_together(seed):
    """Some are rare. Dealt at random, the worst class of 300 images would be off by far more."""
    rng = random.Random(seed)
    labels = [[x for x in range(12) if rng.random() < 0.5 / (1 + x)] for _ in range(300)]
    parts = stratify(labels, (0.8, 0.2), seed)
    assert abs(parts.count(1) - 60) <= 1
    for x in range(12):
        members = [part for part, own in zip(parts, labels) if x in own]
        assert abs(members.count(1) - 0.2 * len(members)) <= 2, x


def test_another_seed_deals_otherwise():
    labels = [["cat"]] * 30
    assert stratify(labels, (0.8, 0.2), 1) != stratify(labels, (0.8, 0.2), 2)


@pytest.fixture
def many(coco_set):
    """Twenty images: 10 with a cat, 5 with a dog, 5 without objects; with more in the file."""
    content = coco_set.content
    images = [{**content["images"][0], "id": float(k), "coco_url": k / 3} for k in range(20)]
    cat, dog = content["annotations"][:2]
    annotations = [
        {**(cat if k < 10 else dog), "id": k, "image_id": k, "score": 1e-7} for k in range(15)
    ]
    more = {"info": {"year": 2026}, "licenses": [{"name": "CC0"}]}
    coco_set.content = {**more, **content, "images": images, "annotations": annotations}
    coco_set.write()
    return coco_set


@pytest.fixture
def split(many, tmp_path):
    """split(fraction, **keys of DATASETS): the sentence and the config."""

    def split(fraction=0.2, seed=-1, keep=(), **datasets):
        cfg = get_cfg()
        cfg.SEED = seed
        cfg.DATASETS.TRAIN_JSON = (str(many.json_file),)
        cfg.DATASETS.TRAIN_IMAGES = (str(many.images),)
        for key, value in datasets.items():
            cfg.DATASETS[key] = value
        return split_training_set(cfg, fraction, str(tmp_path / "split"), keep), cfg

    return split


def read(cfg):
    """The contents of the two files."""
    paths = cfg.DATASETS.TRAIN_JSON + cfg.DATASETS.TEST_JSON
    return [json.loads(Path(path).read_text()) for path in paths]


def test_every_entry_is_in_one_file_as_it_was(split, many):
    sentence, cfg = split()
    train, val = read(cfg)
    whole = json.loads(many.json_file.read_text())
    for key in ("images", "annotations"):
        both = sorted(train[key] + val[key], key=lambda x: int(x["id"]))
        assert both == whole[key]
    for key in ("info", "licenses", "categories"):
        assert train[key] == val[key] == whole[key]
    for part in (train, val):
        assert {x["image_id"] for x in part["annotations"]} <= {x["id"] for x in part["images"]}
    assert [x["category_id"] for x in val["annotations"]].count(3) == 2
    assert (len(train["images"]), len(val["images"])) == (16, 4)
    assert "16 images to train on" in sentence and "4 to evaluate on" in sentence
    assert "seed 0" in sentence
    assert split(TEST_JSON=("of the config",))[1].DATASETS == cfg.DATASETS
    assert cfg.DATASETS.TEST_IMAGES == cfg.DATASETS.TRAIN_IMAGES == (str(many.images),)


def test_what_belongs_to_no_image_is_left_to_the_check_of_the_training_set(split, many):
    lost = [{**many.content["annotations"][0], "id": 99, "image_id": x} for x in (77, None, [1])]
    many.content["annotations"] += lost
    many.content["images"].append({"file_name": "no id"})
    many.write()
    train, val = read(split()[1])
    assert train["annotations"][-3:] == lost and train["images"][-1] == {"file_name": "no id"}
    assert len(val["images"]) == 4


def test_what_only_python_reads_as_json_stays(split, many):
    many.json_file.write_text(many.json_file.read_text().replace("1e-07", "NaN"))
    train, val = read(split()[1])
    assert str(val["annotations"][0]["score"]) == "nan"


def test_a_split_is_used_again(split, many, tmp_path):
    _, first = split()
    val = Path(*first.DATASETS.TEST_JSON)
    val.write_text(val.read_text() + "\n")  # to be recognized
    before = val.read_text()
    sentence, again = split()
    assert val.read_text() == before and again.DATASETS == first.DATASETS
    assert "as before" in sentence
    Path(*first.DATASETS.TRAIN_JSON).unlink()  # a process was killed before it wrote this one
    assert read(split()[1])[1] == json.loads(before)


def test_another_split_is_refused(split, many, tmp_path):
    split()
    with pytest.raises(ValueError, match="has another split.*fraction 0.2 -> 0.3"):
        split(0.3)
    with pytest.raises(ValueError, match="seed 0 -> 7"):
        split(seed=7)
    many.content["annotations"].pop()
    many.write()
    with pytest.raises(ValueError, match="sha256"):
        split()


def test_a_file_of_the_user_stays(split, tmp_path):
    (tmp_path / "split").mkdir()
    (tmp_path / "split/val.json").write_text("mine")
    with pytest.raises(FileExistsError, match="val.json"):
        split()
    assert [x.name for x in (tmp_path / "split").iterdir()] == ["val.json"]


@pytest.mark.parametrize("fraction", [0, 1, 20, -0.2, float("nan")])
def test_what_is_no_share(split, fraction):
    with pytest.raises(ValueError, match="--val-fraction is .*share"):
        split(fraction)


def test_contradictions(split):
    with pytest.raises(ValueError, match="--val-fraction and --val-json.*Leave one"):
        split(keep=["DATASETS.TEST_JSON"], TEST_JSON=("a.json",))
    with pytest.raises(ValueError, match="divides one data set, and 2 are given"):
        split(TRAIN_JSON=("a", "b"), TRAIN_IMAGES=("a", "b"))
    with pytest.raises(ValueError, match="divides one data set, and 0 are given"):
        split(TRAIN_JSON=(), TRAIN_IMAGES=())
    with pytest.raises(FileNotFoundError, match="--val-fraction divides 'gone.json', which does"):
        split(TRAIN_JSON=("gone.json",))


def test_too_few_images(split, many):
    many.content["annotations"] = many.content["annotations"][:1]
    many.write()
    with pytest.raises(ValueError, match="has 1 images with objects.*none of them to evaluate on"):
        split()


def test_a_run_has_its_split_beside_it(many, tmp_path):
    """And a run that is there already gets none."""
    run = tmp_path / "run"
    words = ["--config", "quickstart", "--val-fraction", "0.2", "--train-json", many.json_file]
    words += ["--train-images", many.images]
    both = argument_parser().parse_args([*map(str, words), "--val-json", "b", "OUTPUT_DIR", "x"])
    with pytest.raises(ValueError, match="--val-fraction and --val-json.*Leave one"):
        setup(both)
    args = argument_parser().parse_args([*map(str, words), "OUTPUT_DIR", str(run)])
    cfg = setup(args)
    assert (str(run / "split/val.json"),) == cfg.DATASETS.TEST_JSON
    assert len(cfg.DATASETS.TEST) == 1 and cfg.DATASETS.TEST != cfg.DATASETS.TRAIN
    assert "4 to evaluate on" in (run / "log.txt").read_text()
    saved = (run / "config.yaml").read_text()
    assert str(run / "split/train.json") in saved and str(many.json_file) not in saved

    (run / "metrics.json").write_text("{}\n")
    (run / "split/split.json").unlink()
    before = sorted(run.rglob("*"))
    with pytest.raises(FileExistsError, match="holds a run already"):
        setup(args)
    assert sorted(run.rglob("*")) == before


def test_the_check_is_of_the_same_split(split, many, tmp_path, monkeypatch, capsys):
    """With a folder, which gets it, and without one."""
    _, cfg = split()
    words = ["--train-json", many.json_file, "--train-images", many.images, "--val-fraction", 0.2]
    for more in ([], ["--output", tmp_path / "check"]):
        monkeypatch.setattr(sys, "argv", ["scnet check", *map(str, [*words, *more])])
        with pytest.raises(SystemExit):
            check_dataset.main()
        assert "16 images to train on" in capsys.readouterr().out
    for path in (*cfg.DATASETS.TRAIN_JSON, *cfg.DATASETS.TEST_JSON):
        again = tmp_path / "check/split" / Path(path).name
        assert again.read_bytes() == Path(path).read_bytes()
    assert (tmp_path / "check/report.md").exists()
