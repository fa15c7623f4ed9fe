import json
import subprocess
import sys

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from scnet.data.datasets import coco_stuff

LOAD = """
import scnet
from detectron2.data import DatasetCatalog
for split in ("val", "train"):
    try:
        DatasetCatalog.get(f"coco_2017_{split}_stuffthingmaps")
    except FileNotFoundError as error:
        print(error)
"""
COUNT = """
import scnet
from detectron2.data import DatasetCatalog
records = DatasetCatalog.get("coco_2017_train_stuffthingmaps")
print(len(records), sum(len(r["annotations"]) for r in records), records[0]["sem_seg_file_name"])
"""


def run_with(root, code):
    """What a process of its own prints: DETECTRON2_DATASETS is read on import."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"DETECTRON2_DATASETS": str(root), "PATH": "/usr/bin:/bin"},
        text=True,
        capture_output=True,
        check=True,
    ).stdout


def test_names_do_not_collide_with_detectron2s():
    for split in ("train", "val"):
        ours, theirs = f"coco_2017_{split}_stuffthingmaps", f"coco_2017_{split}"
        assert {ours, theirs} <= set(DatasetCatalog.list())
        assert MetadataCatalog.get(ours).thing_classes == MetadataCatalog.get(theirs).thing_classes


@pytest.mark.slow
def test_missing_files_are_named_with_where_to_get_them(tmp_path):
    """Nothing of the one split is there, and of the other all but the maps."""
    for folder in ("annotations", "train2017"):
        (tmp_path / "coco" / folder).mkdir(parents=True)
    (tmp_path / "coco/annotations/instances_train2017.json").write_text("{}")
    nothing, no_maps = run_with(tmp_path, LOAD).splitlines()
    assert f"'{tmp_path}/coco/annotations/instances_val2017.json', which does not exist" in nothing
    assert "https://cocodataset.org/#download" in nothing
    assert f"'{tmp_path}/coco/stuffthingmaps/train2017', which does not exist" in no_maps
    assert "stuffthingmaps_trainval2017.zip" in no_maps
    assert "learns from the objects" in no_maps


def test_names_of_the_semantic_classes(shared):
    """Against the categories of the official annotations."""
    names = coco_stuff.semantic_classes()
    assert len(names) == 183
    for kind in ("instances", "stuff"):
        path = next((shared / "datasets/coco/annotations").glob(f"{kind}_val2017*.json"))
        for category in json.loads(path.read_text())["categories"]:
            if category["name"] != "other":
                assert names[category["id"] - 1] == category["name"]


@pytest.mark.slow
def test_real_coco(shared):
    images, objects, sem_seg = run_with(shared / "datasets", COUNT).split()[-3:]
    assert (images, objects) == ("100", "672")
    assert sem_seg.startswith(str(shared / "datasets/coco/stuffthingmaps/train2017"))
