"""Annotations that are not looked at one by one have nothing that is worth a message."""

import copy
import json
import re

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scnet.data.canonical_form import CanonicalForm
from scnet.data.content import Run
from scnet.data.validation.check_annotation import AnnotationCheck, find
from scnet.data.validation.report import Report
from scnet.data.validation.suspects import find_suspects

IMAGES = [
    {"id": 1, "file_name": "a.png", "height": 20, "width": 40},
    {"id": 2, "file_name": "b.png", "height": 3 * 10**6, "width": 10**16},
    {"id": 3, "file_name": "c.png", "height": 20, "width": 10**400},
    {"id": 4, "file_name": "", "height": 20, "width": 40},  # has a mistake
]
CATEGORIES = [{"id": 5, "name": "cat"}, {"id": 6, "name": ""}]
POLYGON = [1, 1, 9.5, 1, 9, 9]
GOOD = {"id": 0, "image_id": 1, "category_id": 5, "bbox": [1, 1, 8, 8], "segmentation": [POLYGON]}

far = [1e6, 1e6 + 1, 10**15, 1e16, 1e300, 10**400, float("nan"), float("inf")]
edges = [-81, -41, -40, -21, -20, -1.5, -1, 0, 0.5, 1, 20, 21, 22, 40, 41, 42, 43, 80, 81]
NUMBERS = st.sampled_from([*edges, *far])
ODD = st.sampled_from([None, True, False, "1", "", 1.0, 2.0, [], {}, [1], -1])
COORDINATES = st.one_of(NUMBERS, NUMBERS, NUMBERS, ODD)
POLYGONS = st.one_of(
    st.lists(COORDINATES, max_size=8),
    st.builds(lambda k, x: [*POLYGON[:k], x, *POLYGON[k + 1 :]], st.integers(0, 5), COORDINATES),
)
RLE = {"size": [20, 40], "counts": [100, 20, 680]}
VALUES = {
    "id": st.one_of(ODD, st.integers(0, 3)),
    "image_id": st.one_of(ODD, st.sampled_from([2, 3, 4, 99])),
    "category_id": st.one_of(ODD, st.sampled_from([5, 6, "5"])),
    "iscrowd": st.one_of(ODD, st.integers(0, 2)),
    "ignore": ODD,
    "area": st.one_of(ODD, NUMBERS),
    "bbox": st.one_of(
        ODD,
        st.lists(COORDINATES, min_size=3, max_size=5),
        st.builds(lambda x, y, w, h: [x, y, w, h], NUMBERS, NUMBERS, NUMBERS, NUMBERS),
        st.builds(lambda k, x: [*[1, 1, 8, 8][:k], x, *[8] * (3 - k)], st.integers(0, 3), NUMBERS),
    ),
    "segmentation": st.one_of(ODD, st.just(RLE), POLYGONS, st.lists(POLYGONS, max_size=3)),
}


@st.composite
def runs(draw):
    """Annotations that are good but for a few of their keys."""
    run = []
    for k in range(draw(st.integers(1, 4))):
        annotation = copy.deepcopy({**GOOD, "id": k})
        for key in draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=2)):
            annotation[key] = draw(VALUES[key])
            if draw(st.integers(0, 9)) == 0:
                del annotation[key]
        run.append(annotation)
    return run


IMAGE_OF = {x["id"]: x for x in IMAGES if x["file_name"]}


def as_run(form, annotations):
    """Annotations as :class:`scnet.data.content.OpenContent` makes them, and their dicts."""
    converted = list(map(form.convert, annotations))
    plain = form.read_plain(annotations)
    assert all(a is b for a, b, p in zip(annotations, converted, plain) if p)
    return Run([p or x for p, x in zip(plain, converted)], converted), converted


def new_check():
    return AnnotationCheck("a.json", {5: "cat"}, IMAGE_OF, Report())


@pytest.mark.slow
@settings(max_examples=400)
@given(runs(), runs())
@example([{**GOOD, "segmentation": [POLYGON, [1, 1, 9, 1, 9, 41]]}], [{**GOOD, "id": 1}])
@example([GOOD], [{**GOOD, "id": 1, "bbox": [1, 1, 8, 10**400]}, {**GOOD, "id": 2}])
def test_what_is_not_looked_at_is_as_if_it_had_been(first, second):
    form = CanonicalForm(IMAGES, CATEGORIES)
    check, one_by_one = new_check(), new_check()
    for run in (first, second):
        run, converted = as_run(form, run)
        for x, suspect in zip(converted, find_suspects(run, check)):
            image = find(IMAGE_OF, x.get("image_id"))
            usable = one_by_one.is_usable(x, image)
            if suspect:
                assert check.is_usable(x, image) == usable
            else:
                assert usable and image and not check.is_left_out(x, image)
    assert check.report.errors == one_by_one.report.errors
    assert check.report.notes == one_by_one.report.notes
    assert check.ids == one_by_one.ids and check.reach == one_by_one.reach


@settings(max_examples=100)
@given(runs())
@example([GOOD, {**GOOD, "segmentation": [POLYGON[:5]]}, {**GOOD, "image_id": 1.0}])
@example([GOOD, {**GOOD, "bbox": [1, 1, 8, 10**400]}, {**GOOD, "segmentation": RLE}])
def test_text_and_dicts_are_read_alike_all_at_once_or_one_by_one(run):
    def read(entries):  # by a form that has met no others
        return CanonicalForm(IMAGES, CATEGORIES).read_plain(entries)

    assert repr(read(run)) == repr([read([x])[0] for x in run])  # with NaN
    texts = [json.dumps(x) for x in run]
    if not re.search("NaN|Infinity", "".join(texts)):  # a file with these is not read as text
        assert read([msgspec.Raw(x.encode()) for x in texts]) == read(run)


@pytest.mark.parametrize("key", ["area", "iscrowd", "segmentation", None])
def test_good_annotations_are_not_looked_at(key):
    run = [{**GOOD, "id": k, "area": 30.5, "iscrowd": 1} for k in range(4)]
    for annotation in run:
        annotation.pop(key, None)
    check = new_check()
    run, _ = as_run(CanonicalForm(IMAGES, CATEGORIES), run)
    assert find_suspects(run, check) == [False] * 4
    assert check.ids == {0, 1, 2, 3} and check.reach == 9


def polygon(x, y):
    return {"segmentation": [POLYGON, [*POLYGON, x, y], POLYGON]}


@pytest.mark.parametrize(
    "change",
    [
        *({"id": x} for x in (0, None, "", True, [1])),
        *({"image_id": x} for x in (4, 99, None, True, [1])),
        *({"category_id": x} for x in (6, "", None, True, [5])),
        *({"iscrowd": x} for x in (2, -1, "2")),
        {"ignore": 1},
        *({"area": x} for x in (0, -1, 1e15, float("nan"), "1", None, True)),
        *(
            {"bbox": x}
            for x in (None, [1, 1, 8], [1, 1, 8, 8, 8], ["1", "a", 8, 8], [1, 1, 8, True])
        ),
        *({"bbox": [x, 1, 8, 8]} for x in (-1.5, 40, 34, -9, float("nan"), 10**400)),
        *({"bbox": [1, y, 8, 8]} for y in (-1.5, 20, 14, -9, float("inf"))),
        *({"bbox": [1, 1, x, 8]} for x in (0, -1, 41, 10**400)),
        *({"bbox": [1, 1, 8, y]} for y in (0, -1, 21, float("nan"))),
        *({"image_id": 2, "bbox": x} for x in ([1e6 + 1, 1, 8, 8], [1, 1, 1e6 + 1, 8])),
        {"bbox": [40, 1, 0.5, 8]},
        *({"segmentation": x} for x in ("a", [1], [[]], [POLYGON, POLYGON[:4]])),
        *(polygon(x, 1) for x in (-41, 81, True, None, "x", float("nan"), 10**400)),
        *(polygon(1, y) for y in (-21, 41, float("-inf"))),
        {"segmentation": [POLYGON, [*POLYGON, 1]]},
        *({"image_id": 2, **polygon(x, 1)} for x in (1e15, -1e15)),
        {"segmentation": {**RLE, "size": [1, 1]}},
    ],
)
def test_a_mistake_is_looked_at(change):
    form = CanonicalForm(IMAGES, CATEGORIES)
    good = [{**GOOD, "id": k} for k in range(2, 5)]
    for run in ([*good, {**GOOD, "id": 1, **change}], [{**GOOD, "id": 0, **change}, *good]):
        check = new_check()
        check.ids.add(0)
        made, run = as_run(form, run)
        suspects = find_suspects(made, check)
        (place,) = [k for k, x in enumerate(run) if x not in good]
        assert suspects[place]
        image = find(IMAGE_OF, run[place].get("image_id"))
        usable = check.is_usable(run[place], image)
        assert not usable or check.report.notes or image is None
