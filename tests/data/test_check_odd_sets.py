"""Odd classes and boxes in the check of data sets: a report, never a traceback."""

import pytest

from scnet import get_config_file
from scnet.config import read_cfg
from scnet.data.datasets.loading import CocoDataset
from scnet.data.datasets.panoptic_json import add_panoptic
from scnet.data.validation.check_dataset import check_datasets


@pytest.fixture
def check(coco_set, tmp_path, capsys):
    """Check the set after a change of its content; whether it is fit, and the report."""

    def check():
        coco_set.write()
        opts = ["DATASETS.TRAIN_JSON", str((str(coco_set.json_file),))]
        opts += ["DATASETS.TRAIN_IMAGES", str((str(coco_set.images),))]
        cfg = read_cfg(get_config_file("scnet_R_50_FPN_1x_coco.yaml"), opts)
        fit = check_datasets(cfg, folder=str(tmp_path / "report"))
        return fit, capsys.readouterr().out

    return check


@pytest.mark.parametrize("name", ["$", r"$\frac$", r"\$\frac{a}{$", "US$ and A$", "a\nb", "x_$^{"])
def test_a_class_of_any_name_is_drawn_as_it_is(check, coco_set, name):
    coco_set.content["categories"][0]["name"] = name
    assert check()[0]
    assert list((coco_set.json_file.parent.parent / "report").glob("*.png"))


def test_more_classes_than_a_semantic_map_can_hold(check, coco_set):
    more = [{"id": 1000 + k, "name": f"class {k}"} for k in range(1000)]
    coco_set.content["categories"] += more
    fit, report = check()
    assert not fit and "no room for 1003 classes" in report
    assert "SEMANTIC.SOURCE none" in report and "## Errors: 1\n" in report


@pytest.mark.parametrize("annotated", [True, False])
def test_no_classes_at_all(check, coco_set, annotated):
    coco_set.content["categories"] = []
    if not annotated:
        coco_set.content["annotations"] = []
    fit, report = check()
    assert not fit and "has no categories. Add the classes" in report


@pytest.mark.parametrize(
    "box", [[1, 1, 1e14, 1e14], [-1e14, 1, 2e14, 5], [1e14, 1e14, 1, 1], [0, -1e9, 3, 2e9]]
)
@pytest.mark.parametrize("masked", [True, False])
def test_a_box_far_away_is_an_error_in_check_and_training(check, coco_set, box, masked):
    annotation = coco_set.content["annotations"][0]
    annotation["bbox"] = box
    if not masked:
        del annotation["segmentation"]
    fit, report = check()
    assert not fit
    assert "annotation 1 of 'a.png' has the bbox" in report and "far outside" in report
    name = coco_set.json_file.parent.name
    with pytest.raises(ValueError, match="set.json': annotation 1 .* far outside any image"):
        CocoDataset(name, str(coco_set.json_file), str(coco_set.images))()


def test_panoptic_json_that_is_nested_too_deeply(coco_set, tmp_path):
    name = coco_set.json_file.parent.name
    path = tmp_path / "panoptic.json"
    path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match="panoptic.json' is not in COCO's.* nested too deeply"):
        add_panoptic([], name, str(path), str(tmp_path))
