"""Masks as bitmaps and as RLE, and how often a bitmap lies in memory."""

import json
import weakref

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances, ROIMasks
from detectron2.utils.visualizer import Visualizer
from pycocotools import mask as mask_util

from helpers import NAMES
from scnet import Predictor
from scnet.inference.coco_results import CocoResults
from scnet.inference.inputs import Frame, InputImage
from scnet.inference.mask_formats import RLEMasks, to_rle
from scnet.inference.outputs import label_map
from scnet.visualization import draw_detections

SIZE = (40, 60)


def make_found(masks):
    count = len(masks)
    return Instances(
        SIZE,
        pred_boxes=Boxes(torch.rand(count, 2).mul(20).repeat(1, 2) + torch.tensor([0, 0, 9.0, 9])),
        scores=torch.rand(count),
        pred_classes=torch.arange(count) % len(NAMES),
        pred_masks=masks,
    )


@pytest.fixture
def bitmaps():
    return torch.rand(4, *SIZE) > 0.5


@pytest.fixture
def rles(bitmaps):
    return RLEMasks(map(to_rle, bitmaps))


def decoded(masks):
    return np.stack([mask_util.decode(to_rle(x)) for x in masks])


@pytest.mark.parametrize("augmented", [False, True])
def test_rle_are_the_bitmaps(weights, images, tiny_cfg, augmented):
    tiny_cfg.merge_from_list(["TEST.AUG.ENABLED", augmented, "TEST.AUG.MIN_SIZES", (64, 96)])
    both = [Predictor(weights, tiny_cfg, masks=x)(images[1]) for x in ("bitmap", "rle")]
    bitmaps, rles = (x.pred_masks for x in both)
    assert len(bitmaps) == len(rles) > 1 and bitmaps.any()
    assert np.array_equal(decoded(rles), bitmaps.numpy())
    assert torch.equal(both[0].scores, both[1].scores)
    json.dumps(rles)


def test_another_format_is_refused(weights):
    with pytest.raises(ValueError, match="masks must be 'bitmap' or 'rle', not 'polygon'"):
        Predictor(weights, masks="polygon")


def test_rle_are_chosen_as_bitmaps_are(bitmaps, rles):
    one, other = make_found(bitmaps), make_found(rles)
    every = torch.tensor([True, False, True, True])
    for chosen in (every, every.nonzero()[:, 0].flip(0), slice(1, 3), 2, every & False):
        masks = other[chosen].pred_masks
        assert isinstance(masks, RLEMasks)
        expected = one[chosen].pred_masks.numpy()
        assert len(masks) == len(expected)
        assert not len(masks) or np.array_equal(decoded(masks), expected)
    assert len(Instances.cat([other, other])) == 8


def test_no_object(weights, images):
    for mask_format in ("bitmap", "rle"):
        found = Predictor(weights, threshold=1.0, masks=mask_format)(images[0])
        assert len(found) == len(found.pred_masks) == 0
    assert Predictor(weights, threshold=1.0)(images[0]).pred_masks.dtype == torch.bool


def test_at_most_one_bitmap_is_in_memory(weights, images, monkeypatch):
    """And those that are not asked for are not made."""
    alive, pasted, to_bitmasks = [], [], ROIMasks.to_bitmasks

    def counted(self, *args):
        assert not [x for x in alive if x() is not None]
        masks = to_bitmasks(self, *args)
        alive.append(weakref.ref(masks.tensor))
        pasted.append(len(masks))
        return masks

    everything = Predictor(weights)(images[0])
    monkeypatch.setattr(ROIMasks, "to_bitmasks", counted)
    threshold = everything.scores.median().item()
    predictor = Predictor(weights, masks="rle")
    predictor.thresholds[:] = threshold  # the model itself gives all
    found = predictor(images[0])
    assert pasted == [1] * len(found) and 0 < len(found) < len(everything)


def test_results_do_not_copy_bitmaps(bitmaps, tmp_path):
    class Masks:
        """Gives one mask at a time."""

        def __len__(self):
            return len(bitmaps)

        def __getitem__(self, k):
            assert isinstance(k, int)
            return bitmaps[k]

    frame = Frame(InputImage("a.png", "a.png"), 1, np.zeros((*SIZE, 3), np.uint8))
    found = make_found(bitmaps)
    order = found.scores.argsort(descending=True)
    found.pred_masks = Masks()
    with CocoResults(str(tmp_path / "x.json"), NAMES) as writer:
        writer.write(frame, found)
    results = json.loads((tmp_path / "x.json").read_text())
    assert np.array_equal(decoded(x["segmentation"] for x in results), bitmaps[order].numpy())


def test_outputs_are_the_same(bitmaps, rles):
    bitmaps[:, :, 40:] = False
    rles = RLEMasks(map(to_rle, bitmaps))
    one = make_found(bitmaps)
    other = Instances(SIZE, **{**one.get_fields(), "pred_masks": rles})
    assert np.array_equal(label_map(one), label_map(other))
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pictures = [draw_detections(pixels, x, NAMES) for x in (one, other)]
    assert np.array_equal(*pictures) and pictures[0].any()


def test_detectron2_draws_rle(rles):
    drawing = Visualizer(np.zeros((*SIZE, 3), np.uint8))
    picture = drawing.draw_instance_predictions(make_found(rles)).get_image()
    assert cv2.countNonZero(picture[:, :, 0]) > 100
