"""Copy-paste: pixels, masks, boxes and the semantic map follow together."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_util

from scnet.data.copy_paste import CopyPaste
from scnet.data.masks import unpack_runs
from scnet.data.train_loader import TrainLoader
from scnet.modeling.run_length_masks import RunLengthMasks

sizes = st.tuples(st.integers(1, 20), st.integers(1, 20))


def make_mapped(rng, size, count, stride):
    """What the mapper makes of an image: noise, and rectangles that may cover each other."""
    masks = np.zeros((count, *size), np.uint8)
    for mask in masks:
        (y, y2), (x, x2) = (np.sort(rng.integers(0, side, 2)) for side in size)
        mask[y : y2 + 1, x : x2 + 1] = 1
    rles = [mask_util.encode(np.asfortranarray(mask)) for mask in masks]
    runs = unpack_runs([rle["counts"] for rle in rles])
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in map(mask_util.toBbox, rles)])
    sem_seg = torch.as_tensor(rng.integers(0, 9, size, np.uint8))
    return {
        "file_name": "a.jpg",
        "image": torch.as_tensor(rng.integers(0, 255, (3, *size), np.uint8)),
        "sem_seg": sem_seg[::stride, ::stride].contiguous(),
        "instances": Instances(
            size,
            gt_boxes=Boxes(boxes.float().reshape(-1, 4)),
            gt_classes=torch.as_tensor(rng.integers(0, 5, count)),
            gt_masks=RunLengthMasks.from_runs(runs, size),
        ),
    }


def masks_of(mapped):
    return mapped["instances"].gt_masks.bitmaps().tensor.numpy()


def pixel_by_pixel(target, source, chosen, stride):
    """A slow reference: what each pixel shows, and the masks by the number of their object."""
    (height, width), (h, w) = target["instances"].image_size, source["instances"].image_size
    ours, theirs = masks_of(target), masks_of(source)[chosen]
    image, sem_seg = target["image"].clone(), target["sem_seg"].clone()
    masks = np.zeros((len(ours) + len(theirs), height, width), bool)
    for y in range(height):
        for x in range(width):
            on_top = theirs[:, y, x] if y < h and x < w else np.zeros(len(theirs), bool)
            masks[len(ours) :, y, x] = on_top
            if not on_top.any():
                masks[: len(ours), y, x] = ours[:, y, x]
                continue
            image[:, y, x] = source["image"][:, y, x]
            if y % stride == 0 and x % stride == 0:
                sem_seg[y // stride, x // stride] = source["sem_seg"][y // stride, x // stride]
    return image, sem_seg, masks


@pytest.mark.slow
@settings(deadline=None, max_examples=100, derandomize=True)
@given(sizes=st.tuples(sizes, sizes), counts=st.tuples(*[st.integers(0, 4)] * 2), data=st.data())
def test_against_a_slow_reference(make_cfg, sizes, counts, data):
    stride, seed = data.draw(st.sampled_from([1, 2, 8])), data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    target, source = (make_mapped(rng, *x, stride) for x in zip(sizes, counts))
    before = target["image"].clone(), masks_of(target).copy()

    paste = CopyPaste(make_cfg(COMMON_STRIDE=stride))
    np.random.seed(seed)
    result = paste(target, source)
    np.random.seed(seed)
    chosen = np.random.uniform(size=counts[1]) < 0.5

    image, sem_seg, masks = pixel_by_pixel(target, source, chosen, stride)
    assert torch.equal(result["image"], image) and torch.equal(result["sem_seg"], sem_seg)
    left = masks.any(axis=(1, 2))
    np.testing.assert_array_equal(masks_of(result), masks[left])
    kinds = [target["instances"].gt_classes, source["instances"].gt_classes[chosen]]
    assert torch.equal(result["instances"].gt_classes, torch.cat(kinds)[left])
    for mask, box in zip(masks[left], result["instances"].gt_boxes.tensor.tolist()):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        assert box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert torch.equal(target["image"], before[0])  # others may hold it
    np.testing.assert_array_equal(masks_of(target), before[1])


@pytest.fixture(scope="module")
def make_cfg():
    from scnet import get_cfg

    def make(copy_paste=1.0, **semantic):
        cfg = get_cfg()
        cfg.INPUT.COPY_PASTE = copy_paste
        cfg.INPUT.MASK_FORMAT = "bitmask"
        cfg.MODEL.MASK_ON = True
        cfg.MODEL.SEM_SEG_HEAD.update(semantic)
        return cfg

    return make


def test_images_without_annotations_are_left_alone(make_cfg):
    paste, rng = CopyPaste(make_cfg()), np.random.default_rng(0)
    mapped, bare = make_mapped(rng, (5, 6), 2, 1), {"image": torch.zeros(3, 5, 6)}
    assert paste(mapped, bare) is mapped and paste(bare, mapped) is bare


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_images_is_due(make_cfg, share):
    paste = CopyPaste(make_cfg(share))
    np.random.seed(0)
    assert np.mean([paste.is_due() for _ in range(2000)]) == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    "section, key, value, words",
    [
        ("INPUT", "COPY_PASTE", 1.5, "COPY_PASTE is 1.5. It must be the share"),
        ("INPUT", "COPY_PASTE", -0.5, "COPY_PASTE is -0.5. It must be the share"),
        ("INPUT", "MASK_FORMAT", "polygon", "COPY_PASTE needs .* 'bitmask'"),
        ("MODEL", "MASK_ON", False, "COPY_PASTE needs MODEL.MASK_ON True"),
    ],
)
def test_keys_that_do_not_go_together(make_cfg, section, key, value, words):
    cfg = make_cfg()
    cfg[section][key] = value
    with pytest.raises(ValueError, match=words):
        CopyPaste(cfg)


@pytest.fixture
def load(tiny_cfg, coco_set):
    """load(share, workers=0, first=0, broken=""): the loader of a small data set."""
    from scnet import SCNetDatasetMapper, register_coco_json

    name = coco_set.json_file.parent.name
    register_coco_json(name, coco_set.json_file, coco_set.images)
    tiny_cfg.DATASETS.TRAIN = (name,)
    tiny_cfg.MODEL.SCNET.SEMANTIC.SOURCE = "instances"
    tiny_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3

    def load(share, workers=0, first=0):
        tiny_cfg.INPUT.COPY_PASTE = share
        tiny_cfg.DATALOADER.NUM_WORKERS = workers
        loader = TrainLoader(tiny_cfg, SCNetDatasetMapper(tiny_cfg, True), 2)
        loader.first = first
        return [next(batches) for batches in [iter(loader)] for _ in range(6 - first)]

    return load


def summary(batch):
    return [(x["image"].sum().item(), x["instances"].gt_boxes.tensor.tolist()) for x in batch]


def test_the_stream_follows_from_the_seed(load):
    """Also in the middle, and with other workers; images without pasting are as before."""
    batches = [summary(batch) for batch in load(0.6)]
    assert [summary(batch) for batch in load(0.6, workers=2, first=2)] == batches[2:]
    plain = [x for batch in load(0.0) for x in summary(batch)]
    pasted = [x for batch in batches for x in batch]
    same = [one == other for one, other in zip(plain, pasted)]
    assert any(same) and not all(same)
