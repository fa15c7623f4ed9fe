"""What tools write in place of COCO's forms, and mean the same by, is read the same."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scnet.data import canonical_form as module
from scnet.data.canonical_form import CanonicalForm

CONTENT = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 40, "width": 60},
        {"id": 12, "file_name": "b.png", "height": 40, "width": 60},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "7"}],
    "annotations": [
        {
            "id": 5,
            "image_id": 12,
            "category_id": 3,
            "iscrowd": 0,
            "bbox": [2, 3.5, 20, 10],
            "segmentation": [[2, 3.5, 22, 3.5, 22, 13.5], [2, 3, 4, 5, 6, 7, 8, 9]],
        },
        {
            "id": 6,
            "image_id": 1,
            "category_id": 7,
            "iscrowd": 1,
            "bbox": [2, 3, 20, 10],
            "segmentation": {"size": [40, 60], "counts": "_i\\\\0l2"},
        },
        {
            "id": 7,
            "image_id": 1,
            "category_id": 7,
            "iscrowd": 0,
            "bbox": [2, 3, 20, 10],
            "segmentation": {"size": [40, 60], "counts": [100, 200, 2100]},
        },
        {
            "id": 8,
            "image_id": 1,
            "category_id": 7,
            "iscrowd": 0,
            "bbox": [2, 3, 20, 10],
            "segmentation": [[2, 3, 22, 3, 22, 13]],
        },
    ],
}


def canonical_form(content):
    """The whole content in COCO's form, and what is said about it."""
    form = CanonicalForm(content["images"], content["categories"])
    annotations = [form.convert(x) for x in content["annotations"]]
    for x, converted in zip(content["annotations"], annotations):
        assert converted is x or form.read_plain([x]) == [None]
    found = {"images": form.images, "categories": form.categories, "annotations": annotations}
    return found, form.sentences()


def numbers(x):
    """The ways to write a number."""
    ways = [x, float(x), str(x)]
    return st.sampled_from(ways if isinstance(x, int) else ways[1:])


@st.composite
def lists_of_numbers(draw, values):
    return [draw(numbers(x)) for x in values]


@st.composite
def polygons(draw, values):
    values = draw(lists_of_numbers(values))
    if draw(st.booleans()):
        return [list(x) for x in zip(values[::2], values[1::2])]
    return values


@st.composite
def masks(draw, mask):
    if isinstance(mask, dict):
        counts = mask["counts"]
        packed = isinstance(counts, str)
        counts = draw(
            st.sampled_from([counts, str(counts.encode())]) if packed else lists_of_numbers(counts)
        )
        mask = {"size": draw(lists_of_numbers(mask["size"])), "counts": counts}
        return draw(st.sampled_from([mask, [mask]]))
    written = [draw(polygons(x)) for x in mask]
    return written[0] if len(mask) == 1 and draw(st.booleans()) else written


@st.composite
def written_in_another_way(draw):
    content = copy.deepcopy(CONTENT)
    for x in content["images"]:
        x["id"] = draw(st.sampled_from([x["id"], float(x["id"])]))
        x.update((key, draw(numbers(x[key]))) for key in ("height", "width"))
    for x in content["categories"]:
        x["id"] = draw(st.sampled_from([x["id"], float(x["id"])]))
        x["name"] = draw(st.sampled_from([x["name"], 7, 7.0])) if x["name"] == "7" else x["name"]
    for x in content["annotations"]:
        x["id"] = draw(st.sampled_from([x["id"], float(x["id"])]))
        x.update((key, draw(numbers(x[key]))) for key in ("image_id", "category_id"))
        is_crowd = [0, 0.0, False, None, "0"] if x["iscrowd"] == 0 else [1, 1.0, True, "1"]
        x["iscrowd"] = draw(st.sampled_from(is_crowd))
        x["bbox"] = draw(lists_of_numbers(x["bbox"]))
        x["segmentation"] = draw(masks(x["segmentation"]))
    return content


def types(x):
    """The types of all values: 1 == 1.0 == True for Python."""
    if isinstance(x, dict):
        return {key: types(value) for key, value in x.items()}
    return [types(value) for value in x] if isinstance(x, list) else type(x)


@pytest.mark.slow
@settings(max_examples=200)
@given(written_in_another_way())
def test_other_ways_are_read_as_the_same(content):
    before = copy.deepcopy(content)
    found, notes = canonical_form(content)
    assert content == before
    assert found == CONTENT
    for part, keys in (("images", ("id", "height", "width")), ("categories", ("id", "name"))):
        for a, b in zip(found[part], CONTENT[part]):
            assert [type(a[key]) for key in keys] == [type(b[key]) for key in keys]
    for a, b in zip(found["annotations"], CONTENT["annotations"]):
        for key in ("id", "image_id", "category_id", "iscrowd"):
            assert type(a[key]) is int
        if isinstance(b["segmentation"], dict):
            assert types(a["segmentation"]) == types(b["segmentation"])
    assert bool(notes) == (types(found) != types(before) or found != before)


def test_coco_itself_is_not_touched():
    found, notes = canonical_form(CONTENT)
    assert found == CONTENT and notes == []
    for part in CONTENT:
        assert all(a is b for a, b in zip(found[part], CONTENT[part]))


def test_ids_that_are_text_stay_text():
    content = copy.deepcopy(CONTENT)
    for x in content["images"]:
        x["id"] = str(x["id"])
    found, (note,) = canonical_form(content)  # the annotations have integers
    assert {x["image_id"] for x in found["annotations"]} == {"1", "12"}
    assert note == "4 ids are not in COCO's form, such as 12 for '12'. They are read."


@pytest.mark.parametrize(
    "key, value",
    [
        ("iscrowd", 2.0),
        ("iscrowd", "yes"),
        ("image_id", 1.5),
        ("image_id", 2.0**60),  # stands for several whole numbers
        ("image_id", [1]),
        ("category_id", None),
        ("bbox", ["left", 3, 20, 10]),
        ("bbox", "2 3 20 10"),
        ("segmentation", [[2, 3], [22, 3]]),
        ("segmentation", [[2, 3, 4], 5]),
        ("segmentation", {"size": "all", "counts": "b'cut off"}),
        ("segmentation", "[[2, 3, 22, 3, 22, 13]]"),
    ],
)
def test_what_would_be_a_guess_stays(key, value):
    content = copy.deepcopy(CONTENT)
    content["annotations"][0][key] = value
    found, notes = canonical_form(json.loads(json.dumps(content)))
    assert found["annotations"][0][key] == value and notes == []


def test_a_file_that_is_mostly_in_other_forms_is_not_tried_twice(monkeypatch):
    """The fast way is for plain annotations; where it finds few, it only costs time."""
    tried = []
    read_all = module._read_all
    monkeypatch.setattr(module, "_read_all", lambda entries: tried.append(1) or read_all(entries))
    plain = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4}
    odd = {**plain, "iscrowd": False}
    category, image = {"id": 1, "name": "a"}, {"id": 1, "width": 9, "height": 9}
    form = CanonicalForm([image], [category])
    assert [x is None for x in form.read_plain([plain, odd, plain, plain])] == [0, 1, 0, 0]
    calls = len(tried)
    assert [x is None for x in form.read_plain([odd, plain, odd, odd])] == [1, 0, 1, 1]
    assert len(tried) > calls
    calls = len(tried)
    assert form.read_plain([odd, plain]) == [None, None]
    assert len(tried) == calls
