import copy

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, PolygonMasks
from PIL import Image
from pycocotools import mask as mask_util

from scnet import SCNetDatasetMapper
from scnet.data.masks import to_rle
from scnet.modeling.run_length_masks import RunLengthMasks

HEIGHT, WIDTH = 40, 60
RECTANGLE = (slice(10, 30), slice(5, 25))  # rows, columns


@pytest.fixture
def record(tmp_path):
    """An image whose red channel, semantic map and one instance all show the same rectangle."""
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[RECTANGLE] = 1
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = inside * 255
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(inside * 3).save(tmp_path / "map.png")
    annotation = {
        "bbox": [5, 10, 20, 20],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 2,
        "iscrowd": 0,
        "segmentation": mask_util.encode(np.asfortranarray(inside)),
    }
    return {
        "file_name": str(tmp_path / "image.png"),
        "sem_seg_file_name": str(tmp_path / "map.png"),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": 1,
        "annotations": [annotation],
    }


def make_mapper(cfg, augmentations=(), is_train=True, **opts):
    arguments = SCNetDatasetMapper.from_config(cfg, is_train)
    arguments.update({"augmentations": list(augmentations), "semantic_stride": 1, **opts})
    arguments.setdefault("is_train", is_train)
    return SCNetDatasetMapper(**arguments)


@pytest.mark.parametrize(
    "augmentations",
    [
        [],
        [T.RandomFlip(prob=1.0)],
        [T.Resize((80, 90))],
        [T.RandomCrop("absolute", (30, 40)), T.Resize((60, 80)), T.RandomFlip(prob=1.0)],
    ],
    ids=["plain", "flip", "resize", "crop resize flip"],
)
def test_image_instances_and_map_go_through_the_same_transforms(tiny_cfg, record, augmentations):
    out = make_mapper(tiny_cfg, augmentations)(record)
    image = out["image"][0] > 127
    sem_seg = out["sem_seg"] == 3
    (mask,) = out["instances"].gt_masks.bitmaps().tensor
    assert image.shape == sem_seg.shape == mask.shape
    assert image.any() and not image.all()
    for other in (sem_seg, mask):  # they may differ by the rounding of a border
        assert (other & image).sum() / (other | image).sum() > 0.9
    x1, y1, x2, y2 = out["instances"].gt_boxes.tensor[0].round().int().tolist()
    assert mask[y1:y2, x1:x2].float().mean() > 0.9
    assert mask.sum() == mask[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1].sum()


def test_the_record_is_left_as_it_was(tiny_cfg, record):
    before = copy.deepcopy(record)
    make_mapper(tiny_cfg)(record)
    assert record == before


@pytest.mark.parametrize(
    "mask_format, kind", [("bitmask", RunLengthMasks), ("polygon", PolygonMasks)]
)
@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("semantic", [False, True])
def test_images_without_objects(tiny_cfg, record, mask_format, kind, crop, semantic):
    tiny_cfg.INPUT.MASK_FORMAT = mask_format
    tiny_cfg.INPUT.CROP.ENABLED = crop
    tiny_cfg.MODEL.SCNET.SEMANTIC.SOURCE = "auto" if semantic else "none"
    crowd = {**record["annotations"][0], "iscrowd": 1}
    for annotations in ([], [crowd]):
        out = SCNetDatasetMapper(tiny_cfg, True)({**record, "annotations": annotations})
        assert len(out["instances"]) == 0
        assert isinstance(out["instances"].gt_masks, kind)
        assert ("sem_seg" in out) == semantic
        assert out["instances"].gt_boxes.tensor.shape == (0, 4)


def test_at_inference_maps_and_annotations_are_not_read(tiny_cfg, record):
    record["sem_seg_file_name"] = "/nowhere.png"
    out = SCNetDatasetMapper(tiny_cfg, False)(record)
    assert "instances" not in out and "sem_seg" not in out
    assert (out["height"], out["width"]) == (HEIGHT, WIDTH)


def test_without_the_semantic_branch_maps_are_not_read(tiny_cfg, record):
    record["sem_seg_file_name"] = "/nowhere.png"
    tiny_cfg.MODEL.SCNET.SEMANTIC.SOURCE = "none"
    out = SCNetDatasetMapper(tiny_cfg, True)(record)
    assert "sem_seg" not in out and len(out["instances"]) == 1


def save_map(record, array, **kwargs):
    Image.fromarray(array, **kwargs).save(record["sem_seg_file_name"])


def test_palette_maps_are_read_by_index(tiny_cfg, record):
    image = Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8), mode="P")
    image.putpalette([200] * 768)
    image.save(record["sem_seg_file_name"])
    assert (make_mapper(tiny_cfg)(record)["sem_seg"] == 7).all()


def test_255_is_read_as_the_value_to_ignore(tiny_cfg, record):
    save_map(record, np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert (make_mapper(tiny_cfg)(record)["sem_seg"] == 255).all()


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), "mode RGB.*single channel"),
        (np.zeros((HEIGHT, WIDTH), np.uint16), "mode I"),
        (np.zeros((HEIGHT, WIDTH + 1), np.uint8), r"\(40, 61\), its image \(40, 60\)"),
        (np.full((HEIGHT, WIDTH), 9, np.uint8), r"values \[9\].*0 to 8.*255 is ignored"),
    ],
    ids=["three channels", "16 bits", "other size", "unknown class"],
)
def test_wrong_maps_are_named(tiny_cfg, record, array, message):
    save_map(record, array)
    with pytest.raises(ValueError, match=message) as error:
        make_mapper(tiny_cfg)(record)
    assert record["sem_seg_file_name"] in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a png"])
def test_unreadable_maps_are_named(tiny_cfg, record, content):
    with open(record["sem_seg_file_name"], "wb") as f:
        f.write(content)
    with pytest.raises(ValueError, match="Cannot read semantic map '.*map.png'"):
        make_mapper(tiny_cfg)(record)


def test_no_map_for_the_semantic_branch_names_the_image(tiny_cfg, record):
    del record["sem_seg_file_name"]
    with pytest.raises(KeyError, match="image.png has no semantic map"):
        make_mapper(tiny_cfg)(record)


@pytest.mark.parametrize("semantic", [False, True])
def test_boxes_without_masks_are_refused_for_a_mask_model(tiny_cfg, record, semantic):
    tiny_cfg.MODEL.SCNET.SEMANTIC.SOURCE = "auto" if semantic else "none"
    del record["annotations"][0]["segmentation"]
    with pytest.raises(ValueError, match="image.png has objects without 'segmentation'"):
        SCNetDatasetMapper(tiny_cfg, True)(record)
    tiny_cfg.MODEL.MASK_ON = False
    out = SCNetDatasetMapper(tiny_cfg, True)(record)
    assert len(out["instances"]) == 1
    assert torch.equal(out["instances"].gt_classes, torch.tensor([2]))


@pytest.mark.parametrize("form", ["polygons", "rle"])
def test_a_training_image_takes_few_bytes_beside_its_pixels(tiny_cfg, record, form):
    """They go from process to process and to the GPU: no map or mask at the size of the image."""
    size = (400, 600)
    resize = T.Resize(size)
    (annotation,) = record["annotations"]
    if form == "polygons":
        annotation["segmentation"] = [[5, 10, 25, 10, 25, 30, 5, 30]]
    record["annotations"] = [dict(annotation) for _ in range(50)]
    tiny_cfg.MODEL.SCNET.SEMANTIC.SOURCE = "stuffthingmaps"
    out = make_mapper(tiny_cfg, [resize], semantic_stride=8)(record)
    assert out["sem_seg"].dtype == torch.uint8 and out["sem_seg"].shape == (50, 75)
    whole = make_mapper(tiny_cfg, [resize])(record)["sem_seg"]
    assert torch.equal(out["sem_seg"], whole[::8, ::8])
    masks = out["instances"].gt_masks
    assert len(masks) == 50 and masks.bitmaps().tensor.shape == (50, *size)
    assert out["image"].nbytes == 3 * size[0] * size[1]
    assert masks.changes.nbytes + out["sem_seg"].nbytes < 0.3 * out["image"].nbytes


def test_the_stride_of_the_semantic_map_is_that_of_the_head(tiny_cfg):
    tiny_cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 4
    assert SCNetDatasetMapper.from_config(tiny_cfg)["semantic_stride"] == 4


@pytest.mark.parametrize("crop", [False, True])
def test_instances_are_those_of_detectron2(tiny_cfg, record, crop):
    """Also their boxes after a crop, and that an object of which nothing is left is left out."""
    (annotation,) = record["annotations"]
    polygon = [5, 10, 25, 10, 25, 30, 12.3, 28.7, 5, 30]
    slivers = [[7, 7, 7.2, 7.1, 7.1, 7.2], [0, 0, 60, 0, 60, 0.1]]
    record["annotations"] += [{**annotation, "segmentation": [x]} for x in (polygon, *slivers)]
    record["annotations"].append({**annotation, "bbox": [3, 3, 0, 5]})
    steps = [T.RandomCrop("absolute", (25, 30))] if crop else []
    steps += [T.Resize((61, 77)), T.RandomFlip(prob=1.0)]
    theirs = DatasetMapper(
        is_train=True,
        augmentations=steps,
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
        recompute_boxes=crop,
    )
    if crop:  # theirs crops polygons with a package that few have
        for x in record["annotations"]:
            x["segmentation"] = to_rle(x["segmentation"], HEIGHT, WIDTH)
    np.random.seed(3)
    expected = theirs(record)["instances"]
    np.random.seed(3)
    found = make_mapper(tiny_cfg, steps, recompute_boxes=crop)(record)["instances"]
    assert 0 < len(expected) < 5
    assert torch.equal(found.gt_boxes.tensor, expected.gt_boxes.tensor)
    assert torch.equal(found.gt_classes, expected.gt_classes)
    assert torch.equal(found.gt_masks.bitmaps().tensor, expected.gt_masks.tensor)
