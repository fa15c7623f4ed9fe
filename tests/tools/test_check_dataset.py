"""The report on a data set, as a user gets it."""

import cv2
import numpy as np
import pytest
from PIL import Image

import label_formats
from helpers import CocoSet

SCRIPT = "projects/SCNet/tools/check_dataset.py"


@pytest.fixture
def check(run_here, tmp_path):
    def check(train, val=None, *opts):
        args = [SCRIPT, "--train-json", train.json_file, "--train-images", train.images]
        if val:
            args += ["--val-json", val.json_file, "--val-images", val.images]
        result = run_here(*args, "--output", tmp_path / "report", *opts, check=False)
        assert "Traceback" not in result.stdout
        return result.returncode, result.stdout

    return check


def test_good_data(check, coco_set, tmp_path):
    (tmp_path / "other").mkdir()
    val = CocoSet(tmp_path / "other")
    status, output = check(coco_set, val)
    assert status == 0
    assert "## Errors: 0" in output
    assert "category ids are not 1 to 2" in output
    assert "MODEL.SCNET.SEMANTIC.SOURCE instances" in output
    assert "3/3" in output  # the progress bar
    rows = [line.split() for line in output.splitlines() if line.startswith("|")]
    assert ["|", "cat", "|", "1", "|", "1", "|"] in rows
    assert ["|", "dog", "|", "2", "|", "2", "|"] in rows
    assert f"b.jpg' has the same content as '{coco_set.images}" in output
    report = (tmp_path / "report/report.md").read_text()
    assert report.strip() in output
    sheets = sorted((tmp_path / "report").glob("*.png"))
    assert len(sheets) == 2
    sheet = cv2.imread(str(sheets[0]))
    assert sheet.shape[1] > 4 * 400 and (sheet != 255).any()

    status, output = check(coco_set, val)  # a report is not replaced unasked
    assert status == 1 and "add --overwrite" in output
    assert (tmp_path / "report/report.md").read_text() == report


def test_all_problems_are_found_in_one_pass(check, coco_set):
    """Of the json and of the images; what is wrong in one place does not hide the rest."""
    content, images = coco_set.content, coco_set.images
    content["images"] += [
        {"id": k, "file_name": f"{k}.png", "height": 40, "width": 60} for k in range(10, 15)
    ]
    pixels = np.zeros((40, 60, 3), np.uint8)
    (images / "11.png").write_bytes(b"")
    Image.fromarray(pixels[:, :, 0].astype(np.uint16)).save(images / "12.png")
    Image.fromarray(pixels[:30]).save(images / "13.png")
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(images / "14.png", exif=exif)
    content["annotations"] += [
        coco_set.annotation(20, 1, 5, [1, 1, 5, 5], [[1, 1, 6, 1, 6, 6]]),
        coco_set.annotation(25, 99, 3, [1, 1, 5, 5], [[1, 1, 6, 1, 6, 6]]),
        coco_set.annotation(21, 3, 3, [40, 20, 5, 5], [[1, 1, 6, 1, 6, 6]]),
        coco_set.annotation(22, 3, 3, [50, 30, 50, 60], [[50, 30, 60, 30, 60, 40, 50, 40]]),
        coco_set.annotation(23, 3, 3, [1, 1, 5, 5], [[1, 1, 6, 6], [1, 1, 6, 1, 6, 6]]),
        {**coco_set.annotation(24, 3, 3, [1, 1, 5, 5], {"size": [40, 60], "counts": "1"})},
    ]
    coco_set.write()
    status, output = check(coco_set)
    assert status == 1
    for text in (
        "10.png' does not exist",
        "Cannot read image",
        "12.png' has more than 8 bits",
        "13.png' has height and width (30, 60), but the data set says (40, 60)",
        "14.png' has height and width (60, 40)",
        "Its EXIF tag says that it is to be turned",
        "annotation 20 of 'a.png' has category_id 5",
        "annotation 25: there is no image with the id 99",
        "has its mask elsewhere, with an IoU of 0.00",
        "annotation 22 of 'c.png' has the bbox [50, 30, 50, 60] in an image of 60 x 40",
        "annotation 23 of 'c.png' has 1 polygons with fewer than three points",
        "annotation 24 of 'c.png', its segmentation is a damaged RLE: its runs have 1 pixels",
    ):
        assert text in output, text
    assert output.count("b.jpg") == 0


def test_semantic_maps_are_read(check, coco_set):
    folder = coco_set.json_file.parent / "maps"
    (folder / "sub").mkdir(parents=True)
    for name, value in {"a": 200, "sub/b": 3, "c": 255}.items():
        Image.fromarray(np.full(coco_set.SIZE, value, np.uint8)).save(folder / f"{name}.png")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(folder / "c.png")
    status, output = check(coco_set, None, "DATASETS.TRAIN_SEM_SEG", f"('{folder}',)")
    assert status == 1
    assert "a.png' has values [200]. Classes are 0 to 182" in output
    assert "c.png' has height and width (5, 5), its image (40, 60)" in output
    assert "sub/b.png" not in output


def test_boxes_without_masks(check, coco_set):
    for annotation in coco_set.content["annotations"]:
        del annotation["segmentation"]
    coco_set.write()
    status, output = check(coco_set)
    assert status == 1 and "0 of 3 objects have a mask ('segmentation')" in output
    status, _ = check(coco_set, None, "--overwrite", "MODEL.MASK_ON", "False")
    assert status == 0


def test_class_names_that_look_like_numbers_stay_as_they_are(check, coco_set):
    for category, name in zip(coco_set.content["categories"], ("007", "1e5")):
        category["name"] = name
    coco_set.write()
    _, output = check(coco_set)
    rows = [line.split() for line in output.splitlines() if line.startswith("|")]
    assert ["|", "007", "|", "2", "|"] in rows and ["|", "1e5", "|", "1", "|"] in rows


def test_a_file_of_via_without_classes(check, coco_set):
    """Flat polygons and text as ids are read, so that what remains is the missing classes."""
    content = coco_set.content
    content["categories"] = []
    content["annotations"] = [
        {
            "id": 1,
            "image_id": "1",
            "iscrowd": 0,
            "bbox": [2, 3, 20, 10],
            "segmentation": [2, 3, 22, 3, 22, 13],
        }
    ]
    coco_set.write()
    status, output = check(coco_set)
    assert status == 1
    errors = output[output.index("## Errors: 2") : output.index("## Notes: 2")]
    assert "has no categories. Add the classes. (VIA writes those" in errors
    assert "annotation 1 of 'a.png' has no category_id. Add it" in errors


def test_all_problems_of_one_annotation(check, coco_set):
    coco_set.content["annotations"][0].update(
        image_id=1, category_id=77, iscrowd=3, bbox=["left"] * 1000, segmentation=[["top"] * 6]
    )
    coco_set.write()
    _, output = check(coco_set)
    for part in ("category_id 77", "iscrowd 3", "the bbox ['left', ", "its segmentation has a"):
        assert f"annotation 1 of 'a.png', {part}" in output.replace("' has ", "', ")
    assert max(len(x) for x in output.splitlines() if "annotation 1" in x) < 600


def test_annotations_in_another_format(run_here, tmp_path):
    """They are written, said to have lost what they lost, checked, and there to be trained on."""
    folder, to = label_formats.yolo(tmp_path), tmp_path / "coco.json"
    result = run_here(SCRIPT, "--from", "yolo", folder, "--to", to)
    assert f"'{to}' has 3 images, 3 objects and 2 classes of '{folder}'" in result.stdout
    assert "(train 2, val 1 images); --split takes one" in result.stdout
    assert "## Errors: 0" in result.stdout
    line = f"scnet train --config scnet_R_50_FPN_own_data --train-json {to} --train-images {folder}"
    assert result.stdout.strip().endswith(line)

    before = to.read_text()
    result = run_here(SCRIPT, "--from", "yolo", folder, "--to", to, check=False)
    assert result.returncode == 1 and "add --overwrite" in result.stdout
    assert to.read_text() == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--from", "yolo", "x"], "--from needs --to FILE"),
        (["--from", "coco", "x", "--to", "y"], "takes one of cvat, labelme, labelstudio, via, voc"),
        (["--split", "train"], "--split is for --from, which is not given"),
        (["--from", "yolo", "x", "--to", "y", "--val-json", "z"], "goes with no other data"),
    ],
)
def test_arguments_that_do_not_go_with_from(run_here, arguments, message):
    result = run_here(SCRIPT, *arguments, check=False)
    assert result.returncode == 1 and message in result.stdout
    assert "Traceback" not in result.stdout
