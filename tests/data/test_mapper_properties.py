"""Image, masks, boxes and semantic map stay together under random transforms."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as mask_util

from scnet import SCNetDatasetMapper, get_cfg
from scnet.data.augmentation import add_augmentations

properties = settings(deadline=None, max_examples=30, derandomize=True)
THINGS = 3  # one object each, so that its class says which object it is
seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(24, 48), st.integers(24, 48))


def rasterize(polygons, size):
    return mask_util.decode(mask_util.merge(mask_util.frPyObjects(polygons, *size)))


@st.composite
def outlines(draw, size):
    """An L: a rectangle without the quarter at its lower right corner."""
    (y1, y2), (x1, x2) = (
        (start, draw(st.integers(start + 10, side)))
        for side in size
        for start in [draw(st.integers(0, side - 10))]
    )
    y, x = (y1 + y2) // 2, (x1 + x2) // 2
    return [x1, y1, x2, y1, x2, y, x, y, x, y2, x1, y2]


@st.composite
def scenes(draw, forms=("polygon", "rle")):
    """Polygons of the objects with their forms, and the size of the image."""
    size = draw(sizes)
    polygons = draw(st.lists(outlines(size), min_size=1, max_size=THINGS))
    return [(p, draw(st.sampled_from(forms))) for p in polygons], size


def mirrored(scene, horizontal):
    objects, (height, width) = scene
    axis, side = (0, width) if horizontal else (1, height)
    flipped = [list(polygon) for polygon, _ in objects]
    for polygon in flipped:
        polygon[axis::2] = [side - x for x in polygon[axis::2]]
    return [(p, form) for p, (_, form) in zip(flipped, objects)], (height, width)


def labels_of(masks, size, areas=None):
    """The class per pixel, of masks by class: the smallest object is on top, then the later."""
    labels = np.full(size, THINGS)
    areas = areas or {k: mask.sum() for k, mask in masks.items()}
    for k in sorted(masks, key=lambda k: (-int(areas[k]), k)):
        labels[masks[k] > 0] = k
    return labels


@pytest.fixture(scope="module")
def make_record(tmp_path_factory):
    file_name = str(tmp_path_factory.mktemp("images") / "image.png")

    def make_record(scene):
        """A record, the areas of its objects, and an image with a channel for each class."""
        objects, size = scene
        masks = {k: rasterize([polygon], size) for k, (polygon, _) in enumerate(objects)}
        image = labels_of(masks, size)[..., None] == np.arange(THINGS)
        Image.fromarray(image.astype(np.uint8) * 255).save(file_name)
        annotations = []
        for k, (polygon, form) in enumerate(objects):
            x, y = min(polygon[::2]), min(polygon[1::2])
            annotation = {
                "bbox": [x, y, max(polygon[::2]) - x, max(polygon[1::2]) - y],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": k,
                "iscrowd": 0,
                "segmentation": [polygon] if form == "polygon" else mask_util.encode(masks[k]),
            }
            annotations.append(annotation)
        record = {"file_name": file_name, "height": size[0], "width": size[1], "image_id": 1}
        areas = {k: mask.sum() for k, mask in masks.items()}
        return {**record, "annotations": annotations}, areas

    return make_record


def map_record(record, augmentations, mask_format="bitmask"):
    mapper = SCNetDatasetMapper(
        True,
        semantic_source="instances",
        num_classes=THINGS,
        num_semantic_classes=THINGS + 1,
        ignore_value=255,
        augmentations=augmentations,
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format=mask_format,
    )
    return mapper(record)


def masks_by_class(out):
    instances, size = out["instances"], out["sem_seg"].shape
    masks = instances.gt_masks
    if hasattr(masks, "polygons"):
        masks = [rasterize(polygons, size) for polygons in masks.polygons]
    else:
        masks = [mask.numpy() for mask in masks.bitmaps().tensor]
    return dict(zip(instances.gt_classes.tolist(), masks))


def near_borders(labels):
    """Pixels some of whose eight neighbours have another label."""
    padded = np.pad(labels, 1, mode="edge")
    shifts = [(y, x) for y in range(3) for x in range(3)]
    height, width = labels.shape
    return np.any([padded[y : y + height, x : x + width] != labels for y, x in shifts], axis=0)


def check_agreement(out, areas, exact):
    """All of the mapper's outputs show the same objects, but for the rounding of borders."""
    sem_seg, masks = out["sem_seg"].numpy(), masks_by_class(out)
    from_masks = labels_of(masks, sem_seg.shape, areas)
    if exact:
        np.testing.assert_array_equal(from_masks, sem_seg)
    channels = out["image"].numpy()
    from_image = np.where(channels.max(axis=0) > 127, channels.argmax(axis=0), THINGS)
    for labels in (from_masks, from_image):
        wrong = labels != sem_seg
        assert not (wrong & ~near_borders(labels) & ~near_borders(sem_seg)).any()
        assert wrong.mean() < 0.2
    # Detectron2 leaves out only objects of which nothing is left.
    assert set(np.unique(sem_seg)) <= {*masks, THINGS}
    boxes = out["instances"].gt_boxes.tensor.tolist()
    for mask, (x1, y1, x2, y2) in zip(masks.values(), boxes):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        assert x1 - 1 <= columns[0] and columns[-1] + 1 <= x2 + 1
        assert y1 - 1 <= rows[0] and rows[-1] + 1 <= y2 + 1
    return masks


@st.composite
def transforms(draw, crop=False):
    """At most one resize: the roundings of two would add up."""
    steps = [T.Resize(draw(st.tuples(*[st.integers(32, 64)] * 2)))]
    for horizontal in draw(st.lists(st.booleans(), max_size=2)):
        steps.append(T.RandomFlip(horizontal=horizontal, vertical=not horizontal))
    if crop:
        steps.append(T.RandomCrop("relative_range", (0.6, 0.6)))
    return draw(st.permutations(steps[draw(st.integers(0, 1)) :]))


@properties
@given(scene=scenes(), augmentations=transforms(), seed=seeds)
@pytest.mark.parametrize("mask_format", ["bitmask", "polygon"])
def test_resized_and_flipped_outputs_agree(make_record, mask_format, scene, augmentations, seed):
    if mask_format == "polygon":
        scene = ([(p, "polygon") for p, _ in scene[0]], scene[1])
    record, areas = make_record(scene)
    np.random.seed(seed)
    out = map_record(record, augmentations, mask_format)
    exact = all(form == "rle" for _, form in scene[0])  # all masks are resized alike
    masks = check_agreement(out, areas, exact)
    assert len(masks) == len(scene[0])


@properties
@given(scene=scenes(forms=("rle",)), augmentations=transforms(crop=True), seed=seeds)
def test_cropped_outputs_agree(make_record, scene, augmentations, seed):
    record, areas = make_record(scene)
    np.random.seed(seed)
    check_agreement(map_record(record, augmentations), areas, exact=True)


@properties
@given(scene=scenes(), seed=seeds)
def test_cropped_polygons_agree(make_record, scene, seed):
    """They are made bitmaps: Detectron2 crops polygons with a package that few have."""
    record, areas = make_record(([(p, "polygon") for p, _ in scene[0]], scene[1]))
    np.random.seed(seed)
    crop = T.RandomCrop("relative_range", (0.6, 0.6))
    check_agreement(map_record(record, [crop]), areas, exact=True)


@properties
@given(scene=scenes(), horizontal=st.booleans())
@pytest.mark.parametrize("mask_format", ["bitmask", "polygon"])
def test_flips_mirror_exactly(make_record, mask_format, scene, horizontal):
    if mask_format == "polygon":
        scene = ([(p, "polygon") for p, _ in scene[0]], scene[1])
    flip = T.RandomFlip(prob=1.0, horizontal=horizontal, vertical=not horizontal)
    record, _ = make_record(scene)
    plain, once, twice = (map_record(record, [flip] * n, mask_format) for n in range(3))
    by_hand = map_record(make_record(mirrored(scene, horizontal))[0], [], mask_format)
    axis = -1 if horizontal else -2
    check_same(once, by_hand)
    check_same(plain, twice)
    assert torch.equal(once["image"], plain["image"].flip(axis))
    assert torch.equal(once["sem_seg"], plain["sem_seg"].flip(axis))
    for k, mask in masks_by_class(plain).items():
        np.testing.assert_array_equal(masks_by_class(once)[k], np.flip(mask, axis))
    boxes, side = plain["instances"].gt_boxes.tensor.clone(), plain["image"].shape[axis]
    ends = [0, 2] if horizontal else [1, 3]
    boxes[:, ends] = side - boxes[:, ends[::-1]]
    assert torch.equal(once["instances"].gt_boxes.tensor, boxes)


def check_same(one, other):
    for key in ("image", "sem_seg"):
        assert torch.equal(one[key], other[key])
    first, second = one["instances"], other["instances"]
    assert torch.equal(first.gt_boxes.tensor, second.gt_boxes.tensor)
    assert torch.equal(first.gt_classes, second.gt_classes)
    masks, others = masks_by_class(one), masks_by_class(other)
    assert masks.keys() == others.keys()
    for k in masks:
        np.testing.assert_array_equal(masks[k], others[k])


@properties
@given(scene=scenes(forms=("rle",)), color=st.booleans(), seed=seeds)
def test_jittered_outputs_agree(make_record, scene, color, seed):
    """Under large-scale jitter, and where colors change too."""
    cfg = get_cfg()
    cfg.INPUT.LARGE_SCALE_JITTER.update(ENABLED=True, SCALES=(0.7, 2.0), SIZE=56)
    cfg.INPUT.COLOR_JITTER = 0.2 * color
    record, areas = make_record(scene)
    np.random.seed(seed)
    check_agreement(map_record(record, add_augmentations(cfg, [])), areas, exact=True)
