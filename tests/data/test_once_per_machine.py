"""Reading a data set once, and holding it packed."""

import json
import pickle

import pytest
from detectron2.data import DatasetCatalog
from hypothesis import given
from hypothesis import strategies as st

from scnet import register_coco_json
from scnet.data.content import OpenContent
from scnet.data.datasets.catalog import summarize
from scnet.data.once_per_machine import once_per_machine, packed_once_per_machine, taken
from scnet.data.validation import check_json

VALUES = st.one_of(st.floats(allow_nan=False), st.text())
ITEMS = st.lists(st.dictionaries(st.text(), VALUES), min_size=1, max_size=5)


@given(items=ITEMS)
def test_packed_items_come_back(items):
    given = list(items)
    packed = packed_once_per_machine(lambda: taken(given))
    assert [packed[k] for k in range(len(packed))] == list(packed) == items
    assert given == []  # nothing is in memory twice
    with pytest.raises(IndexError):
        packed[len(items)]


def test_one_process_calls_it_as_it_is():
    made = object()
    assert once_per_machine(lambda: made) is made


@pytest.fixture
def reads(monkeypatch):
    """Counts how often json files are read."""
    counted = []

    class Counting(OpenContent):
        def __init__(self, *args):
            counted.append(args)
            super().__init__(*args)

    monkeypatch.setattr(check_json, "OpenContent", Counting)
    return counted


def test_what_was_checked_is_not_read_again(coco_set, reads):
    name = coco_set.json_file.parent.name
    register_coco_json(name, str(coco_set.json_file), str(coco_set.images))
    summarize(name)
    first = DatasetCatalog.get(name)
    assert len(reads) == 1
    expected = pickle.dumps(first)
    first[0]["annotations"].clear()  # it is the caller's
    assert pickle.dumps(DatasetCatalog.get(name)) == expected
    assert len(reads) == 2


def test_a_file_that_has_changed_is_read_again(coco_set, reads):
    name = coco_set.json_file.parent.name
    register_coco_json(name, str(coco_set.json_file), str(coco_set.images))
    summarize(name)
    coco_set.content["annotations"].pop()
    coco_set.json_file.write_text(json.dumps(coco_set.content, indent=1))
    records = DatasetCatalog.get(name)
    assert sum(len(x["annotations"]) for x in records) == 2
    assert len(reads) == 2
    kept = [x for x in check_json._kept if x.json_file == str(coco_set.json_file)]
    assert not kept  # neither this content nor the former takes memory
