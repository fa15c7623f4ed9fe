import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_util

from scnet.data import semantic_targets

properties = settings(deadline=None, max_examples=40, derandomize=True)
THINGS, IGNORE = 3, 200
sizes = st.tuples(st.integers(3, 14), st.integers(3, 14))
seeds = st.integers(0, 2**32 - 1)


def run_lengths(mask):
    flat = np.concatenate([[0], mask.ravel(order="F"), [2]])
    return np.diff([0, *np.flatnonzero(np.diff(flat)), mask.size]).tolist()


def segment(mask, rectangles, form):
    """A segmentation in one of its forms."""
    if form == "polygons":
        polygons = [[x1, y1, x2, y1, x2, y2, x1, y2] for y1, y2, x1, x2 in rectangles]
        return [*polygons, [1, 1, 2, 2]]  # the last is left out
    if form == "run lengths":
        # With a run of no length at the end, as some tools write it.
        return {"size": list(mask.shape), "counts": [*run_lengths(mask), 0]}
    rle = mask_util.encode(np.asfortranarray(mask))
    return {**rle, "counts": rle["counts"].decode()} if form == "text" else rle


@st.composite
def objects(draw, size):
    """An object: what the mapper gets of it, and its mask."""
    bounds = [
        [x for s in size for x in sorted(draw(st.tuples(*[st.integers(0, s)] * 2)))]
        for _ in range(draw(st.integers(0, 2)))
    ]
    mask = np.zeros(size, np.uint8)
    for y1, y2, x1, x2 in bounds:
        mask[y1:y2, x1:x2] = 1
    form = draw(st.sampled_from(["polygons", "run lengths", "bytes", "text"]))
    if form != "polygons" and draw(st.booleans()):
        mask &= np.random.default_rng(draw(seeds)).integers(0, 2, size, np.uint8)
    annotation = {
        "category_id": draw(st.integers(0, THINGS - 1)),
        "segmentation": segment(mask, bounds, form),
    }
    if draw(st.booleans()):
        annotation["iscrowd"] = draw(st.integers(0, 1))
    return annotation, mask


def objects_and_size():
    return sizes.flatmap(lambda s: st.tuples(st.lists(objects(s), max_size=6), st.just(s)))


def draw_slowly(things, size):
    """The target, one pixel after the other."""
    target = np.zeros(size, np.uint8)
    for y in range(size[0]):
        for x in range(size[1]):
            value, smallest = THINGS, None
            for annotation, mask in things:
                if not mask[y, x]:
                    continue
                if annotation.get("iscrowd"):
                    if smallest is None:
                        value = IGNORE
                elif smallest is None or mask.sum() <= smallest:
                    value, smallest = annotation["category_id"], mask.sum()
            target[y, x] = value
    return target


def draw_target(things, size):
    return semantic_targets.from_instances([a for a, _ in things], size, THINGS, IGNORE)


@properties
@given(objects_and_size())
def test_each_pixel_has_the_class_of_the_smallest_object_there(drawn):
    things, size = drawn
    target = draw_target(things, size)
    assert target.dtype == np.uint8
    np.testing.assert_array_equal(target, draw_slowly(things, size))


@properties
@given(objects_and_size(), st.data())
def test_of_equal_areas_the_later_object_is_on_top(drawn, data):
    (things, size), place = drawn, data.draw(st.integers(0, 6))
    mask = np.zeros(size, np.uint8)
    mask[0, 0] = 1
    twins = [({"category_id": k, "segmentation": segment(mask, [], "bytes")}, mask) for k in (0, 1)]
    for first, second in (twins, twins[::-1]):
        mixed = [*things[:place], first, *things[place:], second]
        np.testing.assert_array_equal(draw_target(mixed, size), draw_slowly(mixed, size))
        assert draw_target(mixed, size)[0, 0] == second[0]["category_id"]


@properties
@given(objects_and_size(), st.data())
def test_the_order_of_objects_of_distinct_areas_does_not_matter(drawn, data):
    things, size = drawn
    distinct = list({(int(m.sum()), bool(a.get("iscrowd"))): (a, m) for a, m in things}.values())
    shuffled = data.draw(st.permutations(distinct))
    np.testing.assert_array_equal(draw_target(shuffled, size), draw_target(distinct, size))


@properties
@given(objects_and_size())
def test_objects_without_masks_are_not_drawn(drawn):
    things, size = drawn
    without = {"category_id": 0, "bbox": [0, 0, 3, 3]}
    np.testing.assert_array_equal(
        draw_target([(without, None), *things], size), draw_target(things, size)
    )


def test_many_objects():
    """With NumPy 2, ``pycocotools.mask.area`` of a list takes 255 masks at most."""
    size, things = (20, 30), []
    for k in range(300):
        mask = np.zeros(size, np.uint8)
        mask[k // 30, k % 30] = 1
        things.append(
            ({"category_id": k % THINGS, "segmentation": segment(mask, [], "text")}, mask)
        )
    np.testing.assert_array_equal(draw_target(things, size), draw_slowly(things, size))


def test_without_objects_all_is_background():
    np.testing.assert_array_equal(draw_target([], (4, 5)), np.full((4, 5), THINGS))


@pytest.fixture(scope="module")
def file_name(tmp_path_factory):
    return str(tmp_path_factory.mktemp("maps") / "map.png")


@properties
@given(size=sizes, seed=seeds, classes=st.integers(1, 255), palette=st.booleans())
def test_semantic_maps_are_read_as_they_were_written(file_name, size, seed, classes, palette):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, size, np.uint8)
    labels[rng.random(size) < 0.1] = 255
    image = Image.fromarray(labels, mode="P" if palette else "L")
    if palette:
        image.putpalette(rng.integers(0, 256, 768).tolist())
    image.save(file_name)
    read = semantic_targets.from_stuffthingmap(file_name, size, classes, 255)
    np.testing.assert_array_equal(read, labels)


@properties
@given(size=sizes, seed=seeds, classes=st.integers(1, 200), data=st.data())
def test_values_that_are_no_class_are_refused(file_name, size, seed, classes, data):
    labels = np.random.default_rng(seed).integers(0, classes, size, np.uint8)
    wrong = data.draw(st.integers(classes, 255).filter(lambda value: value != 254))
    labels[data.draw(st.integers(0, size[0] - 1)), -1] = wrong
    Image.fromarray(labels).save(file_name)
    with pytest.raises(ValueError, match=rf"values \[{wrong}\]. Classes are 0 to {classes - 1} "):
        semantic_targets.from_stuffthingmap(file_name, size, classes, 254)


@st.composite
def panoptic_maps(draw):
    """Ids of three bytes, or 0, and segments of these ids."""
    ids = draw(st.lists(st.integers(1, 256**3 - 1), min_size=1, max_size=6, unique=True))
    labels = np.random.default_rng(draw(seeds)).choice([0, *ids], draw(sizes))
    classes = [draw(st.integers(0, 254)) for _ in ids]
    return labels, [{"id": i, "category_id": c} for i, c in zip(ids, classes)]


def write_panoptic(file_name, labels):
    channels = np.stack([labels % 256, labels // 256 % 256, labels // 256**2], axis=-1)
    Image.fromarray(channels.astype(np.uint8)).save(file_name)


@properties
@given(drawn=panoptic_maps())
def test_panoptic_maps_are_read_as_they_were_written(file_name, drawn):
    labels, segments = drawn
    write_panoptic(file_name, labels)
    expected = np.full(labels.shape, 255)
    for s in segments:
        expected[labels == s["id"]] = s["category_id"]
    read = semantic_targets.from_panoptic(file_name, segments, labels.shape, 255)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, expected)


@properties
@given(drawn=panoptic_maps(), data=st.data())
def test_ids_of_no_segment_are_refused(file_name, drawn, data):
    labels, segments = drawn
    missing = segments.pop(data.draw(st.integers(0, len(segments) - 1)))["id"]
    labels[0, 0] = missing
    write_panoptic(file_name, labels)
    with pytest.raises(ValueError, match=rf"the ids \[{missing}\], which are no segments"):
        semantic_targets.from_panoptic(file_name, segments, labels.shape, 255)
