import numpy as np
import pytest
import torch
from detectron2.data.catalog import Metadata
from detectron2.structures import Boxes, Instances
from detectron2.utils.visualizer import Visualizer
from hypothesis import given, settings
from hypothesis import strategies as st

from scnet.modeling.panoptic import PanopticCombination

properties = settings(deadline=None, max_examples=40, derandomize=True)
HEIGHT, WIDTH = 24, 32


def make_combination(num_things, **kwargs):
    defaults = {
        "overlap_threshold": 0.5,
        "stuff_area_threshold": 40,
        "instance_score_threshold": 0.3,
    }
    return PanopticCombination(num_things=num_things, **{**defaults, **kwargs})


def make_instances(classes, scores, masks):
    instances = Instances((HEIGHT, WIDTH))
    instances.pred_classes = torch.tensor(classes, dtype=torch.int64)
    instances.scores = torch.tensor(scores, dtype=torch.float)
    instances.pred_masks = masks
    instances.pred_boxes = Boxes(torch.zeros(len(classes), 4))
    return instances


def logits_of(labels, num_classes):
    return torch.nn.functional.one_hot(labels, num_classes).permute(2, 0, 1).float()


@st.composite
def predictions(draw):
    """The number of things, objects as rectangles, and a semantic map of blocks."""
    num_things, num_stuff = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    blocks = torch.randint(num_things + num_stuff, (4, 4), generator=generator)
    labels = blocks.repeat_interleave(HEIGHT // 4, 0).repeat_interleave(WIDTH // 4, 1)
    count = draw(st.integers(0, 4))
    masks = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.bool)
    for mask in masks:
        (y1, y2), (x1, x2) = (
            sorted(draw(st.tuples(*[st.integers(0, side)] * 2))) for side in (HEIGHT, WIDTH)
        )
        mask[y1:y2, x1:x2] = True
    classes = [draw(st.integers(0, num_things - 1)) for _ in range(count)]
    scores = torch.rand(count, generator=generator).tolist()
    return num_things, make_instances(classes, scores, masks), labels, num_things + num_stuff


@properties
@given(predictions())
def test_segments_are_objects_and_stuff_and_cover_all_ids(drawn):
    num_things, instances, labels, num_classes = drawn
    panoptic_seg, segments = make_combination(num_things)(instances, logits_of(labels, num_classes))
    assert panoptic_seg.shape == (HEIGHT, WIDTH)
    ids = [s["id"] for s in segments]
    assert len(set(ids)) == len(ids) and 0 not in ids
    assert set(panoptic_seg.unique().tolist()) <= {0, *ids}
    for segment in segments:
        pixels = panoptic_seg == segment["id"]
        if segment["isthing"]:
            k = segment["instance_id"]
            assert segment["category_id"] == instances.pred_classes[k]
            assert instances.scores[k] >= 0.3
            assert not (pixels & ~instances.pred_masks[k]).any()
        else:
            assert segment["category_id"] >= num_things
            assert (labels[pixels] == segment["category_id"]).all()


@properties
@given(predictions(), st.integers(1, 200))
def test_stuff_is_what_no_object_covers_if_there_is_enough(drawn, limit):
    num_things, instances, labels, num_classes = drawn
    combination = make_combination(num_things, stuff_area_threshold=limit)
    panoptic_seg, segments = combination(instances, logits_of(labels, num_classes))
    covered = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    for segment in segments:
        if segment["isthing"]:
            covered |= panoptic_seg == segment["id"]
    areas = {k: int(((labels == k) & ~covered).sum()) for k in range(num_things, num_classes)}
    expected = {k: area for k, area in areas.items() if area >= limit}
    found = {s["category_id"]: s["area"] for s in segments if not s["isthing"]}
    assert found == expected
    for k in areas:
        ids = panoptic_seg[(labels == k) & ~covered]
        assert ((ids > 0) == (k in expected)).all()
    # Things that are on the semantic map alone are no segments.
    assert (panoptic_seg[(labels < num_things) & ~covered] == 0).all()


def test_objects_are_placed_by_score_and_left_out_if_covered():
    masks = torch.zeros(4, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, 0:10, 0:10] = True
    masks[1, 0:10, 4:14] = True  # more than half is of the first
    masks[2, 0:10, 6:16] = True  # less than half is
    masks[3, 15:20, 0:10] = True  # its score is too low
    instances = make_instances([0, 1, 1, 0], [0.9, 0.8, 0.7, 0.2], masks)
    labels = torch.full((HEIGHT, WIDTH), 2)
    labels[:, 20:] = 3
    panoptic_seg, segments = make_combination(2)(instances, logits_of(labels, 4))
    assert [(s["isthing"], s["category_id"]) for s in segments] == [
        (True, 0),
        (True, 1),
        (False, 2),
        (False, 3),
    ]
    first, second, grass, sky = (panoptic_seg == s["id"] for s in segments)
    assert torch.equal(first, masks[0])
    assert torch.equal(second, masks[2] & ~masks[0])
    assert torch.equal(sky, labels == 3)
    assert torch.equal(grass, (labels == 2) & ~first & ~second)


def test_thresholds_are_those_of_the_config(tiny_cfg):
    tiny_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 7
    combine = tiny_cfg.MODEL.PANOPTIC_FPN.COMBINE
    combine.OVERLAP_THRESH, combine.STUFF_AREA_LIMIT = 0.25, 123
    combine.INSTANCES_CONFIDENCE_THRESH = 0.75
    assert vars(PanopticCombination(tiny_cfg)) == {
        "num_things": 7,
        "overlap_threshold": 0.25,
        "stuff_area_threshold": 123,
        "instance_score_threshold": 0.75,
    }


@pytest.mark.parametrize("with_objects", [True, False])
def test_the_visualizer_writes_the_names_of_things_and_stuff(with_objects, monkeypatch):
    np.random.seed(0)  # of the Visualizer's colours, one of which is black
    written = []
    draw_text = Visualizer.draw_text

    def note(self, text, *args, **kwargs):
        written.append(text.split()[0])
        return draw_text(self, text, *args, **kwargs)

    monkeypatch.setattr(Visualizer, "draw_text", note)
    height, width = 120, 160
    labels = torch.full((height, width), 2)
    labels[:, 80:] = 3
    masks = torch.zeros(1, height, width, dtype=torch.bool)
    masks[0, 40:80, 20:60] = True
    instances = Instances((height, width), pred_masks=masks, scores=torch.tensor([0.9]))
    instances.pred_classes = torch.tensor([1])
    combination = make_combination(2)
    panoptic_seg, segments = combination(
        instances[:1] if with_objects else instances[:0], logits_of(labels, 4)
    )
    names = ["cat", "dog", "grass", "sky"]
    metadata = Metadata(name="drawn", thing_classes=names[:2], stuff_classes=names)
    image = np.zeros((height, width, 3), np.uint8)
    drawn = Visualizer(image, metadata).draw_panoptic_seg(panoptic_seg, segments).get_image()
    assert drawn.shape == image.shape
    assert set(written) == {"grass", "sky"} | ({"dog"} if with_objects else set())
    # Each segment has a colour; the black image is covered.
    for segment in segments:
        pixels = drawn[(panoptic_seg == segment["id"]).numpy()]
        assert (pixels.max(axis=1) > 0).mean() > 0.8
