import json
import uuid

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from scnet import register_coco_json
from scnet.data import class_names


@pytest.fixture
def dataset(tmp_path):
    """A json with the categories 3 and 7, one image in a subfolder, and a semantic map."""
    for folder in ("images/a", "maps/a"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "images/a/one.jpg")
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "maps/a/one.png")
    box = [2.0, 3.0, 10.0, 8.0]
    polygon = [2.0, 3.0, 12.0, 3.0, 12.0, 11.0, 2.0, 11.0]
    annotation = {"id": 1, "image_id": 5, "category_id": 7, "bbox": box, "area": 80.0, "iscrowd": 0}
    content = {
        "images": [{"id": 5, "file_name": "a/one.jpg", "height": 20, "width": 30}],
        "annotations": [{**annotation, "segmentation": [polygon]}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def name():
    name = f"test_{uuid.uuid4().hex}"
    yield name
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_records_have_contiguous_classes_and_their_semantic_map(dataset, name):
    register_coco_json(name, dataset / "set.json", dataset / "images", dataset / "maps")
    (record,) = DatasetCatalog.get(name)
    assert record["file_name"] == str(dataset / "images/a/one.jpg")
    assert record["sem_seg_file_name"] == str(dataset / "maps/a/one.png")
    assert record["annotations"][0]["category_id"] == 1
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.evaluator_type == "coco"
    assert metadata.json_file == str(dataset / "set.json")


def test_without_maps_there_is_no_semantic_file(dataset, name):
    register_coco_json(name, dataset / "set.json", dataset / "images")
    assert "sem_seg_file_name" not in DatasetCatalog.get(name)[0]


def test_registering_again_is_harmless(dataset, name):
    for _ in range(2):
        register_coco_json(name, dataset / "set.json", dataset / "images", dataset / "maps")
    assert len(DatasetCatalog.get(name)) == 1


@pytest.mark.parametrize("second", ["other folder", "without maps"])
def test_the_same_name_for_other_files_is_refused(dataset, name, second):
    register_coco_json(name, dataset / "set.json", dataset / "images", dataset / "maps")
    with pytest.raises(ValueError, match=f"'{name}' is registered already"):
        if second == "other folder":
            register_coco_json(name, dataset / "set.json", dataset / "maps", dataset / "maps")
        else:
            register_coco_json(name, dataset / "set.json", dataset / "images")


@pytest.mark.parametrize("missing", ["set.json", "images", "maps"])
def test_missing_files_are_named(dataset, name, missing):
    paths = {key: dataset / key for key in ("set.json", "images", "maps")}
    paths[missing] = dataset / "absent"
    with pytest.raises(FileNotFoundError, match="absent' does not exist"):
        register_coco_json(name, *paths.values())
    assert name not in DatasetCatalog


def test_a_missing_map_is_named_with_its_image(dataset, name):
    (dataset / "maps/a/one.png").unlink()
    register_coco_json(name, dataset / "set.json", dataset / "images", dataset / "maps")
    with pytest.raises(FileNotFoundError, match="maps/a/one.png.*images/a/one.jpg"):
        DatasetCatalog.get(name)


def test_class_names_are_read_from_the_json(dataset, name, tiny_cfg):
    register_coco_json(name, dataset / "set.json", dataset / "images")
    tiny_cfg.DATASETS.TEST = (name,)
    tiny_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    assert class_names(tiny_cfg) == ["cat", "dog"]
    tiny_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    with pytest.raises(ValueError, match="has 2 classes.*NUM_CLASSES 3"):
        class_names(tiny_cfg)
