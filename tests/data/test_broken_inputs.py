"""Inputs that no training can use: each gives one readable error, and nothing is written."""

import re

import pytest
from detectron2.data import DatasetCatalog

from broken_inputs import CASES, Inputs
from helpers import REPOSITORY, TINY
from scnet import SCNetDatasetMapper, configure_for_datasets, get_config_file, register_coco_json
from scnet.data.own_data import register_datasets

DOCUMENT = REPOSITORY / "docs/troubleshooting.md"


@pytest.fixture(scope="module")
def documented():
    """The table of the documentation: what is wrong -> the first line of the error."""
    rows = re.findall(r"^\| ([^|]+) \| `([^|]+)` \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return dict(rows)


def prepare(inputs):
    """What a training does before its first iteration, and with every image in it."""
    cfg = inputs.cfg
    if inputs.name:
        register_coco_json(inputs.name, inputs["set.json"], inputs["images"])
        cfg.DATASETS.TRAIN = (inputs.name,)
    else:
        register_datasets(cfg)
    configure_for_datasets(cfg, inputs.given)
    mapper = SCNetDatasetMapper(cfg, True)
    for name in cfg.DATASETS.TRAIN:
        for record in DatasetCatalog.get(name):
            mapper(record)


def listing(folder):
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_all_cases_are_documented(documented):
    assert list(documented) == list(CASES)


def test_the_set_is_valid_before_it_is_broken(coco_set, tiny_cfg):
    prepare(Inputs(coco_set, tiny_cfg))


@pytest.mark.parametrize("title", CASES)
def test_broken_inputs_are_named(coco_set, tiny_cfg, documented, title):
    inputs = Inputs(coco_set, tiny_cfg)
    for step in CASES[title]:
        step(inputs)
    before = listing(inputs.folder)
    with pytest.raises((OSError, ValueError, KeyError)) as caught:
        prepare(inputs)
    error = caught.value
    message = error.args[0] if isinstance(error, KeyError) else str(error)
    assert len(error.args) == 1, "an error of the operating system, without advice"
    first = message.split("\n")[0].replace(str(inputs.folder), "my")
    first = first.replace(inputs.folder.name, "my")  # the name of the data set
    first = re.sub(r"mode I\b(?!;)", "mode I;16", first)  # what Pillow 10 calls it
    expected = ".*".join(map(re.escape, documented[title].split("...")))
    assert re.fullmatch(expected, first), f"{first}\nis not\n{documented[title]}"
    assert listing(inputs.folder) == before


@pytest.mark.parametrize(
    "title",
    ["the json file is cut off", "an annotation of an unknown class", "boxes without masks"],
)
def test_train_net_says_it_and_leaves_no_output(coco_set, tiny_cfg, documented, run_forked, title):
    inputs = Inputs(coco_set, tiny_cfg)
    for step in CASES[title]:
        step(inputs)
    output = inputs["output"]
    result = run_forked(
        "train_net.py",
        *("--config-file", get_config_file("quickstart.yaml")),
        *("--train-json", inputs["set.json"], "--train-images", inputs["images"]),
        *("OUTPUT_DIR", output, *TINY),
        check=False,
    )
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stdout
    expected = documented[title].replace("my/", f"{inputs.folder}/").split("...")[0]
    assert f"train_net.py: {expected}" in result.stdout
    assert not output.exists()
