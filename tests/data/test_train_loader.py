"""The stream of training batches."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scnet.data.broken_images import BrokenImageError
from scnet.data.train_loader import TrainLoader, group


@pytest.fixture
def loader(tiny_cfg, coco_set):
    """Batches of two, with what tells images and random numbers apart."""
    from scnet import register_coco_json

    name = coco_set.json_file.parent.name
    register_coco_json(name, coco_set.json_file, coco_set.images)
    tiny_cfg.DATASETS.TRAIN = (name,)
    tiny_cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False

    def make(workers=0, first=0, seed=1, batch_size=2):
        tiny_cfg.DATALOADER.NUM_WORKERS = workers
        loader = TrainLoader(tiny_cfg, stand_in, batch_size)
        loader.seed, loader.first = seed, first
        return loader

    return make


def stand_in(record):
    return record["image_id"], np.random.rand(), torch.rand(1).item()


def take(loader, count):
    return list(islice(loader, count))


def test_a_stream_can_be_entered_at_any_batch(loader):
    stream = take(loader(), 7)
    assert {image for batch in stream for image, *_ in batch} == {1, 2, 3}
    assert take(loader(first=4), 3) == stream[4:]
    assert take(loader(workers=2, first=3), 4) == stream[3:]


def test_every_sample_has_random_numbers_of_its_own(loader):
    samples = [sample for batch in take(loader(), 9) for sample in batch]
    for k in (1, 2):
        assert len({sample[k] for sample in samples}) == len(samples)
    assert take(loader(seed=2), 9) != take(loader(), 9)


def test_processes_share_the_stream(loader, monkeypatch):
    """Two processes with one image see what one process with two images sees."""
    draw = lambda: np.random.randint(2**31)  # noqa: E731 - what all would agree on
    monkeypatch.setattr("detectron2.utils.comm.shared_random_seed", draw)
    whole = take(loader(), 5)
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda rank=rank: rank)
        parts.append(take(loader(batch_size=1), 5))
    assert [[*one, *two] for one, two in zip(*parts)] == whole


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 5))
def test_groups_against_a_slow_reference(kinds, size):
    batches = list(group(enumerate(range(len(kinds))), size, kinds))
    expected = []
    for kind in (False, True):
        of_kind = [(k, k) for k in range(len(kinds)) if kinds[k] == kind]
        whole = len(of_kind) // size * size
        expected += [of_kind[k : k + size] for k in range(0, whole, size)]
    assert batches == sorted(expected, key=lambda batch: batch[-1])


def breaks_at_two(record):
    sample = stand_in(record)
    if record["image_id"] == 2:
        raise OSError("b.jpg is empty.")
    return sample


def test_an_image_is_replaced_by_the_next_one_of_its_kind(loader, coco_set, tiny_cfg):
    """With the random numbers that it would have had."""
    coco_set.content["images"][2].update(height=60, width=40)  # the next one is of another kind
    coco_set.write()
    whole = take(loader(), 9)
    tiny_cfg.DATALOADER.ON_BROKEN_IMAGE = "skip"
    for workers in (0, 2):
        stream = loader(workers=workers)
        stream.mapper = breaks_at_two
        batches = take(stream, 9)
        assert batches == [[(1 if i == 2 else i, *rest) for i, *rest in batch] for batch in whole]
        assert batches != whole
        assert list(stream.broken.values()) == ["b.jpg is empty."]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_an_error_when_its_batch_is_due(loader, workers):
    """In one sentence, without the traceback of the process that loads it."""
    whole = take(loader(), 9)
    due = next(k for k, batch in enumerate(whole) if 2 in {image for image, *_ in batch})
    stream = loader(workers=workers)
    stream.mapper = breaks_at_two
    batches = iter(stream)
    assert [next(batches) for _ in range(due)] == whole[:due]
    with pytest.raises(BrokenImageError, match=r"^b.jpg is empty\. Repair") as raised:
        next(batches)
    assert "\n" not in str(raised.value)


def test_an_image_to_paste_from_may_be_broken(loader, tiny_cfg):
    """It ends the training, or is skipped and named, as any other."""
    tiny_cfg.INPUT.COPY_PASTE, tiny_cfg.INPUT.MASK_FORMAT = 0.5, "bitmask"
    earlier = 0
    for seed in range(5):
        tiny_cfg.DATALOADER.ON_BROKEN_IMAGE = "skip"
        stream = loader(seed=seed)
        stream.mapper = breaks_at_two
        images = [image for batch in take(stream, 9) for image, *_ in batch]
        assert len(images) == 18 and 2 not in images
        assert list(stream.broken.values()) == ["b.jpg is empty."]
        tiny_cfg.DATALOADER.ON_BROKEN_IMAGE = "stop"
        due = next(
            k for k, batch in enumerate(take(loader(seed=seed), 20)) if 2 in {x[0] for x in batch}
        )
        stream = loader(seed=seed)
        stream.mapper = breaks_at_two
        batches, count = iter(stream), 0
        with pytest.raises(BrokenImageError, match=r"^b.jpg is empty\. Repair"):
            for count, _ in enumerate(batches, 1):  # noqa: B007 - how many came before it
                pass
        earlier += count < due
        assert count <= due
    assert earlier
