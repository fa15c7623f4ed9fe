"""Annotations of labelling tools become COCO json, and what is lost on the way is counted."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

import label_formats as formats
from label_formats import CAT, FORMATS, HEIGHT, OBJECTS, WIDTH
from scnet.data.coco_file import read_coco_file
from scnet.data.importing.write_coco import import_labels
from scnet.data.masks import to_rle


@pytest.fixture
def imported(tmp_path):
    """imported(format, source): the content of the json file, and the sentences about it."""

    def imported(kind, source, **options):
        result = import_labels(kind, str(source), str(tmp_path / "coco.json"), **options)
        return read_coco_file(str(tmp_path / "coco.json")), result

    return imported


def stem_of(image):
    """The name of an image, without the prefix of Label Studio."""
    return Path(image["file_name"]).stem.removeprefix("0123abcd-")


def objects_of(content):
    """(image, class) -> RLE, of the objects with masks."""
    images = {x["id"]: x for x in content["images"]}
    names = {x["id"]: x["name"] for x in content["categories"]}
    found = {}
    for raw in content["annotations"]:
        x = json.loads(bytes(raw))
        image = images[x["image_id"]]
        key = stem_of(image), names[x["category_id"]]
        assert key not in found and x["iscrowd"] == 0
        if "segmentation" in x:
            found[key] = to_rle(x["segmentation"], image["height"], image["width"])
            assert mask_util.toBbox(found[key]).tolist() == x["bbox"]
            assert mask_util.area(found[key]) == x["area"]
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_masks_are_what_they_were(tmp_path, imported, name):
    """Each has an IoU of 0.98 or more with the one that was written, its class and its image."""
    kind, write, bitmaps = FORMATS[name]
    content, result = imported(kind, write(tmp_path))
    assert [x["name"] for x in content["categories"]] == ["cat", "dog"]
    assert {(x["height"], x["width"]) for x in content["images"]} == {(HEIGHT, WIDTH)}
    found = objects_of(content)
    assert len(found) == 3 and len(content["images"]) == 3
    for image, objects in OBJECTS.items():
        for label, polygon in objects:
            rle = found[Path(image).stem, label]
            mask = formats.bitmap(polygon) if bitmaps else mask_util.decode(formats.rle(polygon))
            expected = mask_util.encode(np.asfortranarray(mask, np.uint8))
            assert mask_util.iou([rle], [expected], [0])[0, 0] >= (1 if bitmaps else 0.98)
    folder = Path(result.images_folder)
    for x in content["images"]:
        exists = (folder / x["file_name"]).exists()
        assert exists or (folder / x["file_name"].removeprefix("0123abcd-")).exists()


@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_a_part_of_the_data(tmp_path, imported, kind):
    """The classes stay those of all parts, so that the files of two parts go together."""
    source = FORMATS[kind][1](tmp_path)
    content, _ = imported(kind, source, split="val")
    assert [Path(x["file_name"]).stem for x in content["images"]] == ["b"]
    assert [x["name"] for x in content["categories"]] == ["cat", "dog"]
    assert list(objects_of(content)) == [("b", "dog")]
    _, result = imported(kind, source, overwrite=True)
    assert any("(train 2, val 1 images)" in x for x in result.sentences)
    with pytest.raises(ValueError, match="no part 'test', only"):
        imported(kind, source, split="test", overwrite=True)


LABELME = [
    formats.labelme_shape("cat", [[5, 5], [20, 15]], "rectangle"),
    formats.labelme_shape("cat", [[5, 5], [20, 15]], "line"),
    formats.labelme_shape("cat", [[5, 5], [20, 15]], "polygon"),
    formats.labelme_shape("disk", [[30, 20], [30, 30]], "circle"),
    formats.labelme_shape("two", [[1, 1], [9, 1], [9, 9]], group_id=7),
    formats.labelme_shape("two", [[21, 21], [29, 21], [29, 29]], group_id=7),
]


def test_what_labelme_has_and_coco_has_not(tmp_path, imported):
    formats.labelme(tmp_path)
    path = tmp_path / "a.json"
    image = {"imagePath": "..\\elsewhere\\a.png", "imageData": "aGVsbG8="}
    content = {**json.loads(path.read_text()), **image, "shapes": LABELME}
    path.write_text(json.dumps(content), encoding="utf-8-sig")  # as editors on Windows do
    content, result = imported("labelme", tmp_path)
    assert set(result.sentences[1:]) == {
        "1 images are only inside of json files (imageData): save them as files",
        "1 points and lines are left out",
        "1 polygons have fewer than three points: they are left out",
        "1 objects are boxes without a mask",
    }
    assert content["images"][0]["file_name"] == "../elsewhere/a.png"
    found = objects_of(content)
    assert abs(mask_util.area(found["a", "disk"]) / (np.pi * 100) - 1) < 0.02
    assert mask_util.area(found["a", "two"]) == 2 * 28  # one object of two polygons
    boxes = [json.loads(bytes(x)) for x in content["annotations"]]
    assert [x["bbox"] for x in boxes if "segmentation" not in x] == [[5, 5, 15, 10]]


CVAT = """
<box label="cat" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90" occluded="1"/>
<polyline label="cat" points="1,1;5,5"/><points label="cat" points="1,1"/><tag label="cat"/>
<ellipse label="dog" cx="30" cy="20" rx="20" ry="10" rotation="90.0" z_order="1">
  <attribute name="colour">red</attribute></ellipse>
<polygon label="cat" points="1,1;9,1;9,9" group_id="4"/>
<mask label="cat" rle="1, 2, 1" left="50" top="30" width="2" height="2" group_id="4"/>
"""


def test_what_cvat_has_and_coco_has_not(tmp_path, imported):
    formats.cvat(tmp_path)
    xml = formats.cvat_of({"a.png": CVAT, "b.png": "", "c.png": ""})
    (tmp_path / "annotations.xml").write_text(xml)
    content, result = imported("cvat", tmp_path / "annotations.xml")
    assert set(result.sentences[1:]) == {
        "1 objects are marked as occluded, which is left out",
        "1 shapes <polyline> are left out",
        "1 shapes <points> are left out",
        "1 shapes <tag> are left out",
        "1 attributes of objects are left out",
        "1 images have layers (z_order), which are left out: overlapping objects share pixels",
        "1 objects are boxes without a mask",
    }
    annotations = [json.loads(bytes(x)) for x in content["annotations"]]
    turned, disk, joined = annotations
    assert turned["bbox"] == pytest.approx([15, 5, 10, 20])
    assert disk["bbox"] == pytest.approx([20, 0, 20, 40], abs=1)
    assert joined["area"] == 28 + 2
    mask = mask_util.decode(joined["segmentation"])
    assert mask[30:32, 50:52].tolist() == [[0, 1], [1, 0]]


def test_what_label_studio_has_and_coco_has_not(tmp_path, imported):
    path = formats.label_studio(tmp_path)
    tasks = json.loads(path.read_text())
    first, second, third = tasks
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    box = {"x": 50, "y": 25, "width": 20, "height": 50, "rotation": 90, "rectanglelabels": ["cat"]}
    disk = {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "ellipselabels": ["dog", "cat"]}
    results = [
        {"type": "rectanglelabels", "value": box, **size},
        {"type": "ellipselabels", "value": disk, **size},
        {"type": "polygonlabels", "value": {"points": []}, **size},
        {"type": "choices", "value": {"choices": ["good"]}},
    ]
    first["annotations"].append({"result": results})
    first["predictions"] = [{}]
    second["annotations"][0]["was_cancelled"] = True
    content, result = imported("labelstudio", formats.write_json(path, tasks))
    assert set(result.sentences[1:]) == {
        "1 predictions are left out",
        "1 further annotations of an image are left out: its last one is taken",
        "1 further labels of a region are left out: its first one is taken",
        "1 regions without a label are left out",
        "1 results of the type 'choices' are left out",
        "1 annotations were cancelled or skipped: they are left out",
        "1 images are not annotated: they are taken as images of nothing",
        "1 objects are boxes without a mask",
    }
    box, disk = (json.loads(bytes(x)) for x in content["annotations"])
    assert box["bbox"] == pytest.approx([10, 10, 20, 12])
    assert disk["bbox"] == pytest.approx([15, 10, 30, 20], abs=1)


def test_what_via_has_and_coco_has_not(tmp_path, imported):
    path = formats.via(tmp_path)
    content = json.loads(path.read_text())
    regions = content["a.png123"]["regions"]
    regions[0]["region_attributes"]["colour"] = "red"
    shapes = [
        {"name": "point", "cx": 3, "cy": 3},
        {"name": "rect", "x": 1, "y": 2, "width": 10, "height": 5},
        {"name": "ellipse", "cx": 30, "cy": 20, "rx": 10, "ry": 5, "theta": np.pi / 2},
    ]
    for label, shape in zip("xyz", shapes):
        regions.append({"shape_attributes": shape, "region_attributes": {"kind": label}})
    formats.write_json(path, content)
    with pytest.raises(ValueError, match=r"\['colour', 'kind'\].*--class-attribute NAME"):
        imported("via", path)
    content, result = imported("via", path, class_attribute="kind")
    assert set(result.sentences[1:]) == {
        "1 attributes of regions that are not the class are left out",
        "1 points and lines are left out",
        "1 objects are boxes without a mask",
    }
    ellipse = json.loads(bytes(content["annotations"][3]))
    assert ellipse["bbox"] == pytest.approx([25, 10, 10, 20], abs=1)


def test_what_yolo_and_voc_have_and_coco_has_not(tmp_path, imported):
    folder = formats.yolo(tmp_path / "yolo")
    (folder / "labels/train/a.txt").write_text("1 0.5 0.5 0.2 0.1\n0 0 0 1 0 1 1\n")
    (folder / "labels/train/gone.txt").write_text("")
    content, result = imported("yolo", folder / "data.yaml")
    assert set(result.sentences[2:]) == {
        "1 images have no text file: they are taken as images of nothing",
        "1 text files of labels have no image: they are left out",
        "1 objects are boxes without a mask",
    }
    assert json.loads(bytes(content["annotations"][0]))["bbox"] == pytest.approx([24, 18, 12, 4])

    folder = formats.voc(tmp_path / "voc")
    (folder / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>8</ymax></bndbox>"
    one = f"<object><name>dog</name><difficult>1</difficult>{box}</object>"
    for stem in ("b", "c"):
        (folder / f"Annotations/{stem}.xml").write_text(f"<annotation>{one}{one}</annotation>")
    (folder / "SegmentationObject/c.png").unlink()
    content, result = imported("voc", folder, overwrite=True)
    assert set(result.sentences[2:]) == {
        "4 objects are marked as difficult, which is left out",
        "1 boxes are left out, as their images have masks of other objects",
        "2 objects are boxes without a mask",
    }
    boxes = [json.loads(bytes(x))["bbox"] for x in content["annotations"]]
    assert boxes.count([0, 1, 10, 7]) == 2


def test_images_that_are_turned(tmp_path, imported):
    """YOLO's shares are of the image as it is seen."""
    folder = formats.yolo(tmp_path)
    image = Image.open(folder / "images/train/a.png")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(folder / "images/train/a.png", exif=exif)
    content, _ = imported("yolo", folder)
    assert (content["images"][0]["height"], content["images"][0]["width"]) == (WIDTH, HEIGHT)


def put(name, text):
    return lambda folder: (folder / name).write_text(text)


def not_utf8(folder):
    (folder / "labels/train/a.txt").write_bytes(b"\xff\xfe0")


def via_with(*regions):
    images = {"a": {"filename": "a.png", "regions": list(regions)}}
    return put("via.json", json.dumps(images))


def labelme_with(**shape):
    shape = {**formats.labelme_shape("cat", [[1, 1], [5, 1], [5, 5]]), **shape}
    content = {"shapes": [shape], "imagePath": "a.png", "imageHeight": 40, "imageWidth": 60}
    return put("a.json", json.dumps(content))


def tasks_with(**result):
    result = {"type": "polygonlabels", "value": {"polygonlabels": ["cat"]}, **result}
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    task = {"data": {"image": "a.png"}, "annotations": [{"result": [{**size, **result}]}]}
    return put("export.json", json.dumps([task]))


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotations>&c;</annotations>'
NO_SUCH_CLASS = formats.cvat_of(
    {"a.png": '<polygon label="cow" points="1,1;5,1;5,5"/>', "b.png": "", "c.png": ""}
)
# format, what breaks its data set, and the message
BROKEN = [
    ("yolo", put("labels/train/a.txt", "0 5 6 7 8 9 9\n"), "line 1 has numbers outside 0 to 1"),
    ("yolo", put("labels/train/a.txt", "9 0 0 1 0 1 1\n"), "line 1 has the class 9, none of"),
    ("yolo", put("labels/train/a.txt", "\n0 0 0 1 0 1\n"), "line 2 has 5 numbers"),
    ("yolo", put("labels/train/a.txt", "0 0 nan 1 0 1 1\n"), "numbers outside 0 to 1"),
    ("yolo", put("labels/train/a.txt", "cat 0 0 1 0 1 1\n"), "is no number of a class"),
    ("yolo", not_utf8, "is no text in UTF-8"),
    ("yolo", put("data.yaml", "names: [cat"), "data.yaml' is no data.yaml of YOLO: while"),
    ("yolo", put("data.yaml", "nc: 3"), "missing required field `names`"),
    ("yolo", put("data.yaml", "names: [a, b]\ntrain: gone"), "'gone' is none of"),
    ("yolo", put("data.yaml", "names: [a, a]"), "two classes with the name 'a'"),
    ("yolo", put("data.yaml", "names: [a]\nkpt_shape: [17, 3]"), "has poses"),
    ("labelme", labelme_with(label=3), "Expected `str`, got `int` - at `$.shapes[0].label`"),
    ("labelme", labelme_with(shape_type="circle"), "has a shape 'circle' of 3 points"),
    ("labelme", labelme_with(points=[[1, 1], [9e9, 1], [5, 5]]), "far outside the image"),
    ("labelme", labelme_with(shape_type="mask", points=[[1, 1], [2, 2]]), "no PNG in base64"),
    ("labelme", put("a.json", "{"), "a.json' is not a file of labelme"),
    ("labelme", put("d.json", "{}"), "missing required field `shapes`"),
    ("cvat", put("annotations.xml", BOMB), "has a document type"),
    ("cvat", put("annotations.xml", "<annotations>"), "is no xml"),
    ("cvat", put("annotations.xml", "<annotations><track/></annotations>"), "tracks of a video"),
    ("cvat", put("annotations.xml", "<annotation/>"), "begins with <annotation>"),
    ("cvat", put("annotations.xml", NO_SUCH_CLASS), "the class 'cow', which is none of ['cat', 'd"),
    ("label studio", put("export.json", '[{"image": "a.png"}]'), "takes the export 'JSON'"),
    ("label studio", tasks_with(image_rotation=90), "turned by 90 degrees"),
    ("label studio", tasks_with(value={"polygonlabels": "cat"}), "Expected `array`, got `str`"),
    (
        "label studio",
        tasks_with(type="brushlabels", value={"brushlabels": ["cat"], "rle": [0, 0, 0, 9]}),
        "does not fill 60 x 40 pixels: it is cut off",
    ),
    ("via", via_with(formats.via_region("", CAT)), "has '' as its 'kind', which names no class"),
    ("via", via_with({"shape_attributes": {}, "region_attributes": {}}), "attributes [], and one"),
    ("via", put("via.json", '{"project": {}, "metadata": {}}'), "is of VIA 3"),
    ("via", put("via.json", '{"a": {"filename": "gone.png"}}'), "image 'gone.png', which is not"),
    ("voc", put("labelmap.txt", "cat:1,2"), "has the line 'cat:1,2', no 'name:r,g,b::'"),
    ("voc", put("labelmap.txt", "cat:10,200,7::"), "the colour 14c807, which is no class"),
    ("voc", put("ImageSets/Segmentation/val.txt", "gone\n"), "has no image 'gone'"),
]


@pytest.mark.parametrize("name, broken, message", BROKEN, ids=[f"{n}-{m}" for n, _, m in BROKEN])
def test_mistakes_are_named_and_nothing_is_written(tmp_path, imported, name, broken, message):
    kind, write, _ = FORMATS[name]
    source = write(tmp_path)
    broken(tmp_path)
    with pytest.raises((OSError, ValueError)) as caught:
        imported(kind, source)
    assert message in str(caught.value)
    assert not (tmp_path / "coco.json").exists()


def test_a_file_that_exists_and_the_source_are_not_replaced(tmp_path, imported):
    source = formats.via(tmp_path)
    before = source.read_text()
    with pytest.raises(ValueError, match="is read, and cannot be an output"):
        import_labels("via", str(source), str(source), overwrite=True)
    assert source.read_text() == before
    imported("via", source)
    with pytest.raises(FileExistsError, match="add --overwrite"):
        imported("via", source)


def test_an_image_with_two_annotations(tmp_path, imported):
    path = formats.label_studio(tmp_path)
    tasks = json.loads(path.read_text())
    formats.write_json(path, [*tasks, tasks[0]])
    with pytest.raises(ValueError, match="'0123abcd-a.png' 2 times"):
        imported("labelstudio", path)
