"""A json file is read as Python's own parser reads it, but its annotations only when needed."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scnet.data import content as content_module
from scnet.data.canonical_form import CanonicalForm
from scnet.data.coco_file import decode, read_coco_file
from scnet.data.content import OpenContent, Reading
from scnet.data.validation.check_json import check_json, usable_part

NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([10**30, 2**63, 2**64, -(2**63)]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text()),
    lambda x: st.one_of(st.lists(x, max_size=3), st.dictionaries(st.text(max_size=3), x)),
    max_leaves=6,
)
ENTRIES = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=3)
PARTS = dict.fromkeys(("images", "categories", "annotations"), ENTRIES)
# What Python reads and the standard does not know, or writes in its own way.
TAILS = ["1e400", "-1e400", "NaN", "-Infinity", "1E5", "-0", "-0.0", "0.1e-400", r'"\ud800"']


@pytest.fixture(scope="module")
def json_file(tmp_path_factory):
    return tmp_path_factory.mktemp("coco_file") / "set.json"


@pytest.mark.slow
@given(st.fixed_dictionaries(PARTS), st.permutations(list(PARTS)), st.booleans())
@example({"images": [], "categories": [], "annotations": [{"a": "\x00é🐈\ud800"}]}, PARTS, True)
def test_everything_is_read_as_python_reads_it(json_file, content, order, ascii_only):
    text = json.dumps({key: content[key] for key in order}, ensure_ascii=ascii_only, indent=1)
    json_file.write_bytes(text.encode(errors="replace"))
    found = read_coco_file(str(json_file))
    found["annotations"] = list(map(decode, found["annotations"]))
    assert repr(found) == repr(json.loads(json_file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("key", ["annotations", "images"])
def test_numbers_and_text_beyond_the_standard(json_file, tail, key):
    parts = {"images": "", "categories": "", "annotations": '{"a": 1, "a": 2}, '}
    text = ", ".join(f'"{k}": [{x}{{"x": {tail if k == key else 0}}}]' for k, x in parts.items())
    json_file.write_text(f"{{{text}}}")
    found = read_coco_file(str(json_file))
    found["annotations"] = list(map(decode, found["annotations"]))
    assert repr(found) == repr(json.loads(f"{{{text}}}"))


def test_damaged_text_within_an_annotation_is_named(json_file):
    json_file.write_bytes(b'{"images": [], "categories": [], "annotations": [{"a": "\xff"}]}')
    with pytest.raises(ValueError, match="set.json' is no text in UTF-8.*byte 0xff in position 56"):
        read_coco_file(str(json_file))


@pytest.mark.parametrize("entry", ["1", '"{}"', "[{}]", "null", "NaN"])
def test_annotations_that_are_no_objects(json_file, entry):
    json_file.write_text(f'{{"images": [], "categories": [], "annotations": [{{}}, {entry}]}}')
    with pytest.raises(ValueError, match="'annotations' in .* must hold objects only"):
        read_coco_file(str(json_file))


def test_annotations_are_made_run_by_run(coco_set, monkeypatch):
    made = []
    read = CanonicalForm.read_plain
    monkeypatch.setattr(content_module, "RUN", 2)
    monkeypatch.setattr(CanonicalForm, "read_plain", lambda *x: made.extend(x[1]) or read(*x))
    runs = OpenContent(str(coco_set.json_file)).runs()
    assert made == []
    assert [x.get("id") for x in next(runs).annotations] == [1, 2] and len(made) == 2
    assert [x.get("id") for x in next(runs).annotations] == [3]
    assert next(runs, None) is None


@pytest.mark.parametrize("length", [1, 2, 1000])
@pytest.mark.parametrize("order", [None, ["annotations", "categories", "images"]])
def test_neither_the_runs_nor_the_order_of_the_parts_change_what_is_said(
    coco_set, monkeypatch, length, order
):
    content = coco_set.content
    content["categories"].append({"id": 50, "name": "plant"})
    first = content["annotations"][0]
    odd = [
        {"category_id": 50},
        {"image_id": 1.0},
        {"bbox": [1, 1, "2", 3]},
        {"bbox": [1, 1, -2, 3]},
        {"image_id": 99},
        {"iscrowd": 1},
        {"bbox": [0, 0, 900, 3]},
        {"id": 5},
        {"segmentation": [[1, 1, 2, 2]]},
        {},
    ]
    content["annotations"] += [{**first, "id": k, **x} for k, x in enumerate(odd, 4)]
    coco_set.content = {key: content[key] for key in order or content}
    coco_set.write()
    monkeypatch.setattr(content_module, "RUN", length)
    files = str(coco_set.json_file), str(coco_set.images)
    found = check_json(*files, Reading(True, ("plant",)))
    messages = [*found.report.errors.values(), *found.report.notes.values()]
    assert [x.replace(f"'{files[0]}'", "FILE") for kind in messages for x in kind] == MESSAGES
    assert found.objects == {"cat": 7, "dog": 2} and found.num_masks == 9 and not found.crowds
    assert found.per_image == {1: 8, 2: 1} and found.num_empty_images == 1
    usable = usable_part(*files, Reading(True, ("plant",))).annotations
    kept = {k: [decode(x)["id"] for x in entries] for k, entries in usable.items()}
    assert kept == {1: [1, 2, 5, 6, 9, 10, 12, 13], 2: [3]}
    assert [decode(x)["iscrowd"] for x in usable[1]] == [0] * 8
    assert decode(usable[1][3])["bbox"] == [1, 1, 2, 3]


MESSAGES = [
    "FILE: annotation 7 of 'a.png' has the bbox [1, 1, -2, 3]; it must be [x, y, width, height], "
    "not two corners.",
    "FILE: annotation 5 has an id that another has.",
    "FILE: 1 ids are not in COCO's form, such as 1.0 for 1. They are read.",
    "FILE: 1 boxes are not in COCO's form, such as [1, 1, '2', 3] for [1, 1, 2.0, 3]. They are "
    "read.",
    "FILE: Left out: the classes ['plant'], with 1 annotations.",
    "FILE: the category ids are not 1 to 2. They are mapped to the classes 0 to 1 in training, and "
    "back in results.",
    "FILE, annotation 8: there is no image with the id 99. It is left out.",
    "FILE: annotation 10 of 'a.png' has the bbox [0, 0, 900, 3] in an image of 60 x 40 (width x "
    "height). It is clipped. A bbox is [x, y, width, height].",
    "FILE: annotation 12 of 'a.png' has 1 polygons with fewer than three points. It is left out.",
]
