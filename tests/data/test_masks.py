import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_util

from scnet.data import masks

properties = settings(deadline=None, max_examples=50, derandomize=True)
sizes = st.tuples(st.integers(4, 30), st.integers(4, 30))


@st.composite
def random_masks(draw):
    """Binary masks, with runs short and long; pycocotools wants them in the order of columns."""
    height = draw(st.integers(1, 40))
    runs = draw(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 3000)), max_size=12))
    pixels = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    width = max(-(-len(pixels) // height), 1)
    mask = np.full(height * width, draw(st.integers(0, 1)), np.uint8)
    mask[: len(pixels)] = pixels
    return mask.reshape(height, width, order="F")


def pack(mask):
    return mask_util.encode(np.asfortranarray(mask))["counts"].decode()


def run_lengths(mask):
    """Of zeros and ones in turn, down the columns, one pixel after the other."""
    runs, value = [0], 0
    for pixel in mask.ravel(order="F").tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def decode(text):
    """The runs of a packed RLE, one character after the other; None if it is none."""
    runs, value, shift = [], 0, 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 30:
            return None
        value += (group % 32) << shift
        shift += 5
        if group < 32:
            if group >= 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return None if shift or any(run < 0 for run in runs) else runs


@properties
@given(random_masks())
def test_the_length_of_what_pycocotools_packs_is_the_number_of_pixels(mask):
    counts = pack(mask)
    assert decode(counts) == run_lengths(mask)
    assert masks.packed_length(counts) == masks.packed_length(counts.encode()) == mask.size


@properties
@given(st.lists(st.none() | random_masks(), max_size=5))
def test_several_are_unpacked_as_one_by_one(several):
    packed = ["" if mask is None else pack(mask) for mask in several]
    found = masks.unpack_runs(packed)
    assert [runs.tolist() for runs in found] == list(map(decode, packed))


def test_runs_end_with_their_string():
    whole = pack(np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="cut off"):  # though the next string would go on with it
        masks.unpack_runs([whole + "P", "1" + whole])


@properties
@given(random_masks(), st.data())
def test_the_length_of_a_changed_string_is_that_of_its_runs(mask, data):
    counts = pack(mask)
    start = data.draw(st.integers(0, len(counts)))
    end = data.draw(st.integers(start, min(start + 3, len(counts))))
    codes = st.characters(min_codepoint=40, max_codepoint=120)
    changed = counts[:start] + data.draw(st.text(codes, max_size=9)) + counts[end:]
    runs = decode(changed)
    length = -1 if runs is None else sum(runs)
    assert masks.packed_length(changed) == length
    mistake = masks.find_mistake({"size": list(mask.shape), "counts": changed}, *mask.shape)
    assert (mistake is None) == (length == mask.size)
    if mistake is None:
        decoded = mask_util.decode({"size": list(mask.shape), "counts": changed})
        expected = np.repeat(np.arange(len(runs)) % 2, runs)
        np.testing.assert_array_equal(decoded.ravel(order="F"), expected)


@pytest.mark.parametrize("more, length", [(0, 1), (6, 2**30), (7, -1), (12, -1), (40, -1)])
def test_runs_of_more_than_seven_characters_are_refused(more, length):
    # "P" stands for five bits of 0 with more to follow, "1" for the last bits, whose number is 1.
    assert masks.packed_length("P" * more + "1") == length


@properties
@given(random_masks())
def test_every_shortened_string_is_found(mask):
    counts = pack(mask)
    for end in range(len(counts)):
        rle = {"size": list(mask.shape), "counts": counts[:end]}
        assert "damaged RLE" in masks.find_mistake(rle, *mask.shape)


@properties
@given(random_masks(), st.data())
def test_lengthened_run_lengths_and_strings_are_found(mask, data):
    runs = run_lengths(mask)
    place = data.draw(st.integers(0, len(runs) - 1))
    runs[place] += data.draw(st.integers(1, 5000))
    rle = {"size": list(mask.shape), "counts": runs}
    mistake = f"runs have {sum(runs)} pixels, the image {mask.size}"
    assert mistake in masks.find_mistake(rle, *mask.shape)
    # As a string: pycocotools packs it for an image that is larger.
    packed = mask_util.frPyObjects({"size": [1, sum(runs)], "counts": runs}, 1, sum(runs))
    rle["counts"] = packed["counts"]
    assert mistake in masks.find_mistake(rle, *mask.shape)


@properties
@given(random_masks())
def test_masks_of_pycocotools_are_accepted_and_converted(mask):
    size, counts = list(mask.shape), pack(mask)
    for form in (counts, counts.encode(), run_lengths(mask)):
        rle = {"size": size, "counts": form}
        assert masks.find_mistake(rle, *size) is None
        np.testing.assert_array_equal(mask_util.decode(masks.to_rle(rle, *size)), mask)


@properties
@given(sizes, st.data())
def test_polygons_are_accepted_and_what_pycocotools_makes_of_them(size, data):
    height, width = size
    point = st.tuples(st.floats(-width, 2 * width), st.floats(-height, 2 * height))
    polygon = st.lists(point, min_size=3, max_size=8).map(lambda p: [x for xy in p for x in xy])
    polygons = data.draw(st.lists(polygon, min_size=1, max_size=3))
    assert masks.find_mistake(polygons, height, width) is None
    rle = masks.to_rle(polygons, height, width)
    assert masks.find_mistake(rle, height, width) is None
    mask = mask_util.decode(rle)
    assert masks.find_mistake({**rle, "counts": run_lengths(mask)}, height, width) is None


@st.composite
def rectangles(draw, size):
    """Rows and columns (y1, y2, x1, x2); the ends are not within."""
    bounds = (draw(st.lists(st.integers(0, s), min_size=2, max_size=2, unique=True)) for s in size)
    return tuple(x for pair in bounds for x in sorted(pair))


def corners(rectangle):
    y1, y2, x1, x2 = rectangle
    return [x1, y1, x2, y1, x2, y2, x1, y2]


@properties
@given(sizes, st.data())
def test_rectangles_cover_the_pixels_between_their_corners(size, data):
    chosen = data.draw(st.lists(rectangles(size), min_size=1, max_size=3))
    expected = np.zeros(size, np.uint8)
    for row in range(size[0]):
        for column in range(size[1]):
            expected[row, column] = any(
                y1 <= row < y2 and x1 <= column < x2 for y1, y2, x1, x2 in chosen
            )
    rle = masks.to_rle([corners(r) for r in chosen], *size)
    np.testing.assert_array_equal(mask_util.decode(rle), expected)


@properties
@given(sizes, st.data())
def test_polygons_with_fewer_than_three_points_are_left_out(size, data):
    numbers = st.floats(0, min(size))
    short = st.sampled_from([0, 2, 4]).flatmap(lambda n: st.lists(numbers, min_size=n, max_size=n))
    good = [corners(r) for r in data.draw(st.lists(rectangles(size), max_size=2))]
    mixed = data.draw(st.permutations(good + data.draw(st.lists(short, min_size=1, max_size=3))))
    assert masks.find_mistake(mixed, *size) is None
    with_them, without = (mask_util.decode(masks.to_rle(p, *size)) for p in (mixed, good))
    np.testing.assert_array_equal(with_them, without)
    assert with_them.any() == bool(good)


@properties
@given(sizes, random_masks())
def test_masks_of_another_size_are_found(size, mask):
    rle = {"size": list(mask.shape), "counts": pack(mask)}
    for other in (size, mask.shape[::-1]):  # the right number of pixels is not enough
        if other != mask.shape:
            assert "height and width" in masks.find_mistake(rle, *other)


@pytest.mark.parametrize(
    "segmentation, mistake",
    [
        ([[1, 1, 5, 1, 5]], "odd number of coordinates (5)"),
        ([[1, 1, 5, 1, 5, 61]], "coordinate 61, far outside"),
        ([[1, 1, 5, 1, -41, 5]], "coordinate -41, far outside"),
        ([[1, 1, 5, 1, float("nan"), 5]], "no number"),
        ([1, 1, 5, 1, 5, 5], "no list of polygons"),
        ({"size": [30, 40], "counts": [1200, -1, 1]}, "neither a string nor run lengths"),
        ({"counts": [1200]}, "without 'size'"),
    ],
)
def test_mistakes_are_named(segmentation, mistake):
    assert mistake in masks.find_mistake(segmentation, 30, 40)


@given(random_masks())
@properties
def test_the_bitmap_within_the_box(mask):
    """What pycocotools decodes, without what is around the object."""
    rle = masks.encode(mask)
    bitmap, (x, y) = masks.decode_in_box(rle)
    whole = np.zeros_like(mask)
    whole[y : y + bitmap.shape[0], x : x + bitmap.shape[1]] = bitmap
    np.testing.assert_array_equal(whole, mask)
    if mask.any():
        assert bitmap.any(0)[[0, -1]].all() and bitmap.any(1)[[0, -1]].all()
