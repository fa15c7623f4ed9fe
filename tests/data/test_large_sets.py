"""Checks whose work must not grow with the square of the size of a data set."""

import pytest

from scnet import get_config_file
from scnet.config import read_cfg
from scnet.data.validation import check_json
from scnet.data.validation.check_annotation import AnnotationCheck
from scnet.data.validation.check_categories import root_classes
from scnet.data.validation.check_dataset import check_datasets, choose
from scnet.data.validation.report import Report


class Message(str):
    """A message that counts how often something is looked for in it."""

    searches = 0

    def __contains__(self, part):
        Message.searches += 1
        return super().__contains__(part)


def test_messages_are_not_searched_for_images(coco_set, monkeypatch, tmp_path):
    for image in coco_set.content["images"]:
        image["height"] += 1
    for annotation in coco_set.content["annotations"]:
        annotation.pop("segmentation")
    coco_set.write()
    error = Report.error
    monkeypatch.setattr(Report, "error", lambda self, kind, m: error(self, kind, Message(m)))
    Message.searches = 0
    opts = ["DATASETS.TRAIN_JSON", (str(coco_set.json_file),)]
    opts += ["DATASETS.TRAIN_IMAGES", (str(coco_set.images),), "MODEL.MASK_ON", False]
    cfg = read_cfg(get_config_file("scnet_R_50_FPN_1x_coco.yaml"), opts)
    assert not check_datasets(cfg, folder=str(tmp_path / "report"))
    assert not list((tmp_path / "report").glob("*.png"))  # no image has the right size
    assert Message.searches == 0


def test_images_that_notes_are_about_come_first():
    paths = [f"/images/{k}.png" for k in range(6)]
    report, other = Report(), Report()
    report.note("a", "Image '/images/3.png' is odd.", "/images/3.png")
    other.note("b", "It is like '/images/1.png'.", "/images/5.png")
    report.merge(other)
    assert choose(paths, report, 4) == [3, 5, 0, 2]
    assert len(choose(paths, report, 1)) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_root_classes_against_a_slow_reference(count):
    for code in range(4**count):
        parents = ["0", "1", None, ["0"]]
        categories = [
            {"name": str(k), "supercategory": parents[code // 4**k % 4]} for k in range(count)
        ]
        expected = {
            x["name"]
            for x in categories
            if count > 1 and all(y["supercategory"] == x["name"] for y in categories if y is not x)
        }
        assert root_classes(categories) == expected


@pytest.mark.parametrize("large", [True, False])
def test_long_work_is_not_silent(coco_set, monkeypatch, capsys, large):
    if large:
        monkeypatch.setattr(check_json, "LARGE", 0)
        monkeypatch.setattr(check_json, "SILENT", 0)
    check_json.check_json(str(coco_set.json_file), str(coco_set.images))
    shown = capsys.readouterr().err
    assert (f"Reading '{coco_set.json_file}' (0 MB)." in shown) == large
    assert ("Checking 'set.json'" in shown and "3/3" in shown) == large


def test_classes_are_not_listed_for_each_annotation():
    class Classes(dict):
        def __iter__(self):
            raise AssertionError

    image = {"id": 1, "file_name": "a.png", "height": 9, "width": 9}
    annotation = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [1, 1, 2, 2]}
    check = AnnotationCheck("a.json", Classes({5: "cat"}), {1: image}, Report())
    assert check.is_usable(annotation, image)
