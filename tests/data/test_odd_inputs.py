"""Inputs that look wrong but are trained on: what is odd about them is mapped, clipped or left out.

The valid set has 2, 1 and 0 objects in its three images.
"""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog, get_detection_dataset_dicts
from PIL import Image
from pycocotools import mask as mask_util

from broken_inputs import GRAY, HEIGHT, WIDTH, Inputs, move, put, save, turned, without
from scnet import SCNetDatasetMapper, configure_for_datasets
from scnet.data.own_data import register_datasets

BOX = "annotations.0.bbox"
STRIDE = 8  # of the semantic map


def append(part, **values):
    """Add a copy of the first image, annotation or class with other values."""

    def step(inputs):
        content = json.loads(inputs["set.json"].read_text())
        content[part].append({**content[part][0], **values})
        inputs["set.json"].write_text(json.dumps(content))

    return step


def one_pixel(inputs):
    """The first image and its objects, the second of which lies outside."""
    Image.new("RGB", (1, 1)).save(inputs["images/a.png"])
    put("images.0", {"id": 1, "file_name": "a.png", "height": 1, "width": 1})(inputs)
    put("annotations.0.segmentation", [[0, 0, 1, 0, 1, 1, 0, 1]])(inputs)
    put(BOX, [0, 0, 1, 1])(inputs)
    put("annotations.1.segmentation", [[0, 0, 2, 0, 2, 2, 0, 2]])(inputs)
    put("annotations.1.bbox", [1, 1, 2, 2])(inputs)


def turned_sizes(inputs):
    turned(inputs)
    put("images.1", {"id": 2, "file_name": "sub/b.jpg", "height": WIDTH, "width": HEIGHT})(inputs)
    put("annotations.2.segmentation", [[2, 30, 12, 30, 12, 50, 2, 50]])(inputs)
    put("annotations.2.bbox", [2, 30, 10, 20])(inputs)


def unpacked(inputs):
    rle = inputs.coco.content["annotations"][2]["segmentation"]
    flat = mask_util.decode(rle).reshape(-1, order="F").tolist()
    counts, last = [], 0
    for k in range(1, len(flat) + 1):
        if k == len(flat) or flat[k] != flat[k - 1]:
            counts.append(k - last)
            last = k
    put("annotations.2.segmentation.counts", counts)(inputs)


def printed_bytes(inputs):
    counts = inputs.coco.content["annotations"][2]["segmentation"]["counts"]
    put("annotations.2.segmentation.counts", str(counts.encode()))(inputs)


def with_transparency(inputs):
    GRAY.convert("P").save(inputs["images/a.png"], transparency=0)


def as_mode(mode):
    """An image of another mode, in a format that can have it."""

    def step(inputs):
        Image.new(mode, (WIDTH, HEIGHT)).save(inputs["images/a.tif"])
        put("images.0.file_name", "a.tif")(inputs)

    return step


def renamed(new):
    """Other ids of images, annotations and categories."""

    def step(inputs):
        content = json.loads(inputs["set.json"].read_text())
        for x in (x for part in content.values() for x in part):
            x.update((key, new(x[key])) for key in ("id", "image_id", "category_id") if key in x)
        inputs["set.json"].write_text(json.dumps(content))

    return step


def crowds_are_objects(inputs):
    inputs.cfg.DATASETS.CROWDS_ARE_OBJECTS = True


# What is odd, the steps that make it so, the number of objects per image, and the note about it.
CASES = {
    "nothing": ([], [2, 1, 0], "category ids are not 1 to 2. They are mapped"),
    "a class without objects": (
        [append("categories", id=8, name="cow")],
        [2, 1, 0],
        "no object has the class 'cow'",
    ),
    "a crowd": ([put("annotations.0.iscrowd", 1)], [1, 1, 0], "1 crowds"),
    "only crowds in an image": (
        [put("annotations.2.iscrowd", 1)],
        [2, 0, 0],
        "2 images without objects",
    ),
    "a box outside the image": (
        [put(BOX, [70, 50, 20, 10])],
        [1, 1, 0],
        "annotation 1 of 'a.png' has the bbox [70, 50, 20, 10]. It is left out.",
    ),
    "a box over the border": (
        [put(BOX, [50, 30, 20, 20])],
        [2, 1, 0],
        "in an image of 60 x 40 (width x height). It is clipped.",
    ),
    "a box without area": (
        [put(BOX, [2, 3, 20, 0])],
        [1, 1, 0],
        "annotation 1 of 'a.png' has the bbox [2, 3, 20, 0]. It is left out.",
    ),
    "all boxes of an image without area": (
        [put("annotations.2.bbox", [30, 5, 0, 0])],
        [2, 0, 0],
        "annotation 3 of 'sub/b.jpg' has the bbox [30, 5, 0, 0]. It is left out.",
    ),
    "a polygon of two points beside a good one": (
        [put("annotations.0.segmentation", [[2, 3, 22, 3], [2, 3, 22, 3, 22, 13, 2, 13]])],
        [2, 1, 0],
        "has 1 polygons with fewer than three points. These are left out.",
    ),
    "a polygon of two points": (
        [put("annotations.0.segmentation", [[2, 3, 22, 3]])],
        [1, 1, 0],
        "has 1 polygons with fewer than three points. It is left out.",
    ),
    "an annotation of no image": (
        [append("annotations", id=4, image_id=9)],
        [2, 1, 0],
        "annotation 4: there is no image with the id 9. It is left out.",
    ),
    "an image named twice": (
        [append("images", id=4)],
        [2, 1, 0, 0],
        "names 'a.png' twice",
    ),
    "no area and no iscrowd": (
        [without("annotations.0.area"), without("annotations.0.iscrowd")],
        [2, 1, 0],
        None,
    ),
    "an area that cannot be": (
        [put("annotations.0.area", -200), put("annotations.1.area", None)],
        [2, 1, 0],
        "annotation 1 of 'a.png' has the area -200. Evaluation takes that of its mask or box.",
    ),
    "large ids": ([renamed(lambda x: 2**64 - 8 + x)], [2, 1, 0], None),
    "negative ids": ([renamed(lambda x: x - 5)], [2, 1, 0], None),
    "ids that are text": ([renamed("id {}".format)], [2, 1, 0], None),
    "numbers as text, with a fraction, and null": (
        [
            put("images.0.width", 60.0),
            put("images.0.height", "40"),
            put("annotations.0.image_id", "1"),
            put("annotations.1.category_id", 3.0),
            put(BOX, ["2", 3, "20", 10.0]),
            put("annotations.0.iscrowd", None),
            put("annotations.1.iscrowd", False),
            put("annotations.0.ignore", None),
        ],
        [2, 1, 0],
        "2 'iscrowd' are not in COCO's form, such as None for 0. They are read.",
    ),
    "keypoints that are no list": ([put("annotations.0.keypoints", 1)], [2, 1, 0], None),
    "a mask that is a flat list": (
        [put("annotations.0.segmentation", [2, 3, 22, 3, 22, 13])],
        [2, 1, 0],
        "1 masks are not in COCO's form, such as [2, 3, 22, 3, 22, 13] for [[2, 3, 22, 3, 22, 13]]",
    ),
    "a mask of points": (
        [put("annotations.0.segmentation", [[2, 3], [22, 3], [22, 13]])],
        [2, 1, 0],
        "1 masks are not in COCO's form, such as [[2, 3], [22, 3], [22, 13]] for",
    ),
    "a packed mask as Python prints bytes": (
        [printed_bytes],
        [2, 1, 0],
        "1 masks are not in COCO's form",
    ),
    "a class whose name is a number": (
        [put("categories.0.name", 7)],
        [2, 1, 0],
        "1 names of classes are not in COCO's form, such as 7 for '7'.",
    ),
    "a file name with the encoding of URLs": (
        [move("images/a.png", "images/ä b.png"), put("images.0.file_name", "%C3%A4%20b.png?v=2")],
        [2, 1, 0],
        "1 images have other names than their files: the encoding of URLs, such as "
        "'%C3%A4%20b.png?v=2' for the file '\\xe4 b.png'. They are read.",
    ),
    "a class that stands for all": (
        [
            append("categories", id=0, name="pets", supercategory="none"),
            put("categories.0.supercategory", "pets"),
            put("categories.1.supercategory", "pets"),
        ],
        [2, 1, 0],
        "Leave it out with DATASETS.CLASSES_LEFT_OUT \"('pets',)\".",
    ),
    "a class that is left out": (
        [lambda inputs: inputs.cfg.DATASETS.update({"CLASSES_LEFT_OUT": ("cat",)})],
        [1, 1, 0],
        "Left out: the classes ['cat'], with 1 annotations.",
    ),
    "crowds that are objects": (
        [put(f"annotations.{k}.iscrowd", 1) for k in range(3)] + [crowds_are_objects],
        [2, 1, 0],
        "3 objects, 0 crowds",
    ),
    "a mask as an RLE that is not packed": ([unpacked], [2, 1, 0], "1 masks are RLE"),
    "an image in shades of gray": ([save("images/a.png", GRAY)], [2, 1, 0], None),
    "an image with a palette": ([save("images/a.png", GRAY.convert("P"))], [2, 1, 0], None),
    "an image with a palette and transparency": ([with_transparency], [2, 1, 0], None),
    "a transparent image": ([save("images/a.png", GRAY.convert("RGBA"))], [2, 1, 0], None),
    "a gray transparent image": ([save("images/a.png", GRAY.convert("LA"))], [2, 1, 0], None),
    "an image for print": ([as_mode("CMYK")], [2, 1, 0], None),
    "an image of 1 bit": ([save("images/a.png", GRAY.convert("1"))], [2, 1, 0], None),
    "an image of one pixel": ([one_pixel], [1, 1, 0], None),
    "an image that its EXIF tag turns, annotated as it is seen": ([turned_sizes], [2, 1, 0], None),
}


def prepare(coco_set, cfg, steps):
    """Returns what was decided and noticed."""
    inputs = Inputs(coco_set, cfg)
    for step in steps:
        step(inputs)
    register_datasets(cfg)
    return configure_for_datasets(cfg)


@pytest.mark.parametrize("mask_format", ["bitmask", "as decided"])
@pytest.mark.parametrize("filter_empty", [True, False])
@pytest.mark.parametrize("title", CASES)
def test_odd_inputs_are_trained_on(coco_set, tiny_cfg, title, filter_empty, mask_format):
    steps, expected, note = CASES[title]
    lines = prepare(coco_set, tiny_cfg, steps)
    assert note is None or note in "\n".join(lines)
    if mask_format != "as decided":
        tiny_cfg.INPUT.MASK_FORMAT = mask_format
    records = get_detection_dataset_dicts(tiny_cfg.DATASETS.TRAIN, filter_empty)
    if not filter_empty:
        assert len(records) == len(expected)
    mapper, counts = SCNetDatasetMapper(tiny_cfg, True), []
    for record in records:
        out = mapper(record)
        channels, height, width = out["image"].shape
        assert channels == 3 and min(height, width) > 0
        assert (height > width) == (record["height"] > record["width"])
        assert out["image"].dtype == torch.uint8
        instances = out["instances"]
        assert instances.image_size == (height, width)
        assert out["sem_seg"].shape == (-(-height // STRIDE), -(-width // STRIDE))
        assert len(instances.gt_masks) == len(instances.gt_classes) == len(instances)
        boxes = instances.gt_boxes
        clipped = boxes.clone()
        clipped.clip((height, width))
        assert boxes.nonempty().all() and torch.equal(boxes.tensor, clipped.tensor)
        counts.append(len(instances))
    if filter_empty:  # images in which all objects are left out may be kept or not
        assert list(filter(None, counts)) == list(filter(None, expected))
    else:
        assert counts == expected


@pytest.mark.parametrize("filter_empty", [True, False])
@pytest.mark.parametrize("rle", [True, False], ids=["RLE", "polygons"])
def test_crops_without_objects(coco_set, tiny_cfg, filter_empty, rle):
    """Cropping may leave nothing of the objects; images without any are cropped as well."""
    tiny_cfg.INPUT.CROP.ENABLED = True
    tiny_cfg.INPUT.CROP.TYPE = "absolute"
    tiny_cfg.INPUT.CROP.SIZE = (4, 4)
    kept = [put("annotations", coco_set.content["annotations"][2:])] if rle else []
    prepare(coco_set, tiny_cfg, kept)
    (name,) = tiny_cfg.DATASETS.TRAIN
    assert len(DatasetCatalog.get(name)) == 3
    mapper, counts = SCNetDatasetMapper(tiny_cfg, True), set()
    for record in get_detection_dataset_dicts([name], filter_empty) * 40:
        out = mapper(record)
        height, width = out["image"].shape[1:]
        assert out["sem_seg"].shape == (-(-height // STRIDE), -(-width // STRIDE))
        counts.add(len(out["instances"]))
    assert 0 in counts and max(counts) > 0
