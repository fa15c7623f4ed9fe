"""The images to train on are those that Detectron2 would choose, one at a time."""

import logging
from itertools import islice

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts

from scnet import register_coco_json
from scnet.data.datasets import loading
from scnet.data.training_records import training_records


@pytest.fixture
def name(coco_set):
    """A set whose third image has no object, and whose second has only a crowd."""
    coco_set.content["annotations"][2]["iscrowd"] = 1
    coco_set.write()
    name = coco_set.json_file.parent.name
    register_coco_json(name, str(coco_set.json_file), str(coco_set.images))
    return name


@pytest.fixture
def other(name):
    """A set that is not loaded by this package, and has the same images."""
    other = f"{name}_other"
    DatasetCatalog.register(other, lambda: DatasetCatalog.get(name))
    DatasetCatalog.get(name)
    MetadataCatalog.get(other).thing_classes = MetadataCatalog.get(name).thing_classes
    yield other
    DatasetCatalog.remove(other)


@pytest.mark.parametrize("filter_empty, count", [(True, 1), (False, 3)])
@pytest.mark.parametrize("several", [False, True])
def test_they_are_those_of_detectron2(
    name, other, caplog, monkeypatch, filter_empty, count, several
):
    def log(level, text, **_):  # that of Detectron2 says the same thing once
        logging.getLogger().log(level, text)

    monkeypatch.setattr("detectron2.data.build.log_first_n", log)
    names = [name, other][: 1 + several]
    with caplog.at_level(logging.INFO):
        expected = get_detection_dataset_dicts(names, filter_empty)
        said = [x.getMessage() for x in caplog.records]
        caplog.clear()
        assert list(training_records(names, filter_empty)) == expected
    assert [x.getMessage() for x in caplog.records] == said
    assert len(expected) == count * len(names)
    assert len(said) == 1 + filter_empty and "cat" in said[-1] and "dog" in said[-1]


def test_one_image_is_made_at_a_time(name, monkeypatch):
    made = []
    decode = loading.decode
    monkeypatch.setattr(loading, "decode", lambda x: made.append(x) or decode(x))
    stream = training_records([name], False)
    assert [len(x["annotations"]) for x in islice(stream, 1)] == [2] and len(made) == 2
    assert [len(x["annotations"]) for x in stream] == [1, 0] and len(made) == 3


def test_no_image_to_train_on(coco_set):
    coco_set.content["annotations"] = []
    coco_set.write()
    name = coco_set.json_file.parent.name
    register_coco_json(name, str(coco_set.json_file), str(coco_set.images))
    with pytest.raises(ValueError, match=f"no image to train on in the data sets ..{name}"):
        list(training_records([name], True))


def test_other_classes_of_another_set(name, other):
    del MetadataCatalog.get(other).thing_classes
    MetadataCatalog.get(other).thing_classes = ["a", "b"]
    with pytest.raises(ValueError, match="thing_classes"):
        list(training_records([name, other], True))
