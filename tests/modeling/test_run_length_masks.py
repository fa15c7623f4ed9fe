import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st

from scnet.modeling.run_length_masks import RunLengthMasks, with_bitmaps


def drawn(runs, size):
    """The mask of run lengths, pixel by pixel, column by column."""
    values = [k % 2 == 1 for k, run in enumerate(runs) for _ in range(run)]
    return np.array(values, bool).reshape(size[::-1]).T


@st.composite
def masks(draw):
    """Run lengths, some of them 0, of several masks of one size."""
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    pixels = size[0] * size[1]
    places = st.lists(st.integers(0, pixels), max_size=8).map(sorted)
    several = draw(st.lists(places, max_size=4))
    return [np.diff([0, *x, pixels]) for x in several], size


@given(masks())
def test_bitmaps_are_what_the_runs_say(given_masks):
    runs, size = given_masks
    bitmaps = RunLengthMasks.from_runs(runs, size).bitmaps().tensor
    assert bitmaps.shape == (len(runs), *size) and bitmaps.dtype == torch.bool
    for bitmap, each in zip(bitmaps, runs):
        np.testing.assert_array_equal(bitmap.numpy(), drawn(each, size))


@given(masks(), st.data())
def test_objects_are_chosen_as_of_a_tensor(given_masks, data):
    runs, size = given_masks
    several = RunLengthMasks.from_runs(runs, size)
    flags = data.draw(st.lists(st.booleans(), min_size=len(runs), max_size=len(runs)))
    items = [torch.tensor(flags, dtype=torch.bool), slice(1, None), torch.arange(len(runs)).flip(0)]
    for item in items:
        chosen = several[item]
        expected = several.bitmaps().tensor[item]
        assert len(chosen) == len(expected)
        assert torch.equal(chosen.bitmaps().tensor, expected)


def test_many_changes_do_not_overflow():
    """More than a byte can count."""
    checkered = [np.ones(1000, np.int64), np.array([0, *np.ones(1000, np.int64)])]
    bitmaps = RunLengthMasks.from_runs(checkered, (50, 20)).bitmaps().tensor
    assert torch.equal(bitmaps[0], ~bitmaps[1]) and bitmaps.float().mean() == 0.5
    assert bitmaps[1, 0, 0] and not bitmaps[1, 1, 0]


def test_instances_get_bitmaps_and_keep_the_rest():
    masks = RunLengthMasks.from_runs([np.array([2, 3, 7])], (3, 4))
    instances = Instances((3, 4), gt_boxes=Boxes(torch.rand(1, 4)), gt_masks=masks)
    moved = instances.to("cpu")
    bitmaps = with_bitmaps(moved).gt_masks
    np.testing.assert_array_equal(bitmaps.tensor[0].numpy(), drawn([2, 3, 7], (3, 4)))
    assert bitmaps.get_bounding_boxes().tensor.tolist() == [[0, 0, 2, 3]]
    assert instances.gt_masks is masks  # the batch stays as it was
    assert with_bitmaps(moved).gt_masks is bitmaps
    assert not with_bitmaps(Instances((3, 4))).has("gt_masks")
