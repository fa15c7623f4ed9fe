import json

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers import NAMES
from scnet.inference import load_results
from scnet.inference.coco_results import CocoResults
from scnet.inference.inputs import Frame, InputImage, InputVideo
from scnet.inference.outputs import LabelMaps, Pictures, label_map

SIZE = (40, 60)


def make_found(scores, classes, size=SIZE):
    """Objects whose masks are the columns from 2 k to 2 k + 2 for the k-th."""
    masks = torch.zeros(len(scores), *size, dtype=torch.bool)
    for k, mask in enumerate(masks):
        mask[5:30, 2 * k % size[1] : 2 * k % size[1] + 3] = True
    boxes = torch.tensor([[2.0 * k, 5.0, 2.0 * k + 3, 30.0] for k in range(len(scores))])
    return Instances(
        size,
        pred_boxes=Boxes(boxes),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes),
        pred_masks=masks,
    )


def frame_of(source, number=1, size=SIZE):
    time = (number - 1) / getattr(source, "rate", 1)
    return Frame(source, number, np.full((*size, 3), 128, np.uint8), time)


def image(name):
    return frame_of(InputImage(name, name.rsplit(".")[0] + ".png"))


def test_a_label_map_of_tracked_objects_has_their_numbers():
    """16 bits from the first frame on, as the numbers rise from frame to frame."""
    found = make_found([0.5, 0.9, 0.7], [0, 1, 2])
    found.track_ids = torch.tensor([7, 0, 4])  # the second has none
    labels = label_map(found)
    assert labels.dtype == np.uint16
    assert labels[10, :8].tolist() == [7, 7, 7, 0, 4, 4, 4, 0]


def test_a_label_map_has_room_for_numbers_of_16_bits():
    found = make_found([0.5], [0])
    found.track_ids = torch.tensor([2**16 - 1])
    assert label_map(found).max() == 2**16 - 1
    found.track_ids += 1
    with pytest.raises(ValueError, match="16 bits, which are too few for object number 65536"):
        label_map(found)


def test_a_label_map_numbers_the_objects_by_score():
    labels = label_map(make_found([0.5, 0.9, 0.7], [0, 1, 2]))
    assert labels.dtype == np.uint8 and labels.shape == SIZE
    assert not labels[:5].any() and not labels[30:].any()
    assert labels[10, :8].tolist() == [3, 3, 1, 1, 1, 2, 2, 0]  # 0.9 lies over both others


def test_many_objects_have_16_bits(tmp_path):
    count = 300
    found = make_found([1 - k / count for k in range(count)], [0] * count, (40, 700))
    with LabelMaps(str(tmp_path)) as writer:
        writer.write(image("a/b.jpg"), found)
    labels = cv2.imread(str(tmp_path / "a/b.png"), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    assert set(np.unique(labels)) == set(range(count + 1))


def test_no_object_and_no_mask(tmp_path):
    assert not label_map(make_found([0.5], [0])[:0]).any()
    found = make_found([0.5], [0])
    found.remove("pred_masks")
    with pytest.raises(ValueError, match="predicts no masks"):
        label_map(found)


def test_results_with_the_ids_of_a_json(coco_set, tmp_path):
    """pycocotools reads them, with the masks as they were. "sub/b.jpg" is not "b.jpg"."""
    coco_set.content["images"].append({"id": 9, "file_name": "b.jpg", "height": 1, "width": 1})
    coco_set.write()
    path = str(tmp_path / "results.json")
    root = coco_set.images.as_posix()
    found = make_found([0.5, 0.9], [0, 1])
    with CocoResults(path, ["dog", "cat"], str(coco_set.json_file)) as writer:
        writer.write(image(f"{root}/a.png"), found)
        writer.write(image(f"{root}/c.png"), found[:0])
        writer.write(image(f"{root}/sub/b.jpg"), found[:1])
    coco = COCO(str(coco_set.json_file))
    results = coco.loadRes(path).loadAnns([1, 2, 3])
    assert [(x["image_id"], x["category_id"]) for x in results] == [(1, 3), (1, 7), (2, 7)]
    assert [x["category_name"] for x in results] == ["cat", "dog", "dog"]
    assert [x["score"] for x in results] == pytest.approx([0.9, 0.5, 0.5])
    assert results[0]["bbox"] == [2, 5, 3, 25]
    assert results[2]["file_name"] == f"{root}/sub/b.jpg"
    for x, k in zip(results, (1, 0, 0)):
        assert (mask_util.decode(x["segmentation"]) == found.pred_masks[k].numpy()).all()


@pytest.mark.parametrize("complete", [True, False], ids=["complete", "without area and iscrowd"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_results_are_evaluated(coco_set, tmp_path, count, complete):
    """Also if nothing was found: 0 to 2 of the 2 dogs are, without any mistake."""
    path, results = str(coco_set.json_file), str(tmp_path / "results.json")
    expected = COCO(path)
    dogs = [x for x in coco_set.content["annotations"] if x["category_id"] == 7][:count]
    if not complete:
        for x in coco_set.content["annotations"]:
            del x["area"], x["iscrowd"]
        coco_set.write()
    content = [
        {"image_id": x["image_id"], "category_id": 7, "score": 0.9, "bbox": x["bbox"]}
        | {"segmentation": expected.annToRLE(x)}
        for x in dogs
    ]
    for x in content:
        counts = x["segmentation"]["counts"]
        x["segmentation"]["counts"] = counts if isinstance(counts, str) else counts.decode()
    (tmp_path / "results.json").write_text(json.dumps(content))
    truth, found = load_results(path, results)
    for x in truth.anns.values():
        assert (x["iscrowd"], x["area"]) == (0, mask_util.area(expected.annToRLE(x)))
    for task in ("bbox", "segm"):
        evaluation = COCOeval(truth, found, task)
        evaluation.params.catIds = [7]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[8] == pytest.approx(count / 2)  # the recall


def test_results_of_other_images_are_named(coco_set, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 77}]))
    with pytest.raises(ValueError, match="results.json' has the image_id 77"):
        load_results(str(coco_set.json_file), str(path))


@pytest.mark.parametrize("image_id, category_id", [(2**64 - 1, -(2**60)), ("a/1", "a cat")])
def test_results_have_ids_as_they_are_in_the_json(coco_set, tmp_path, image_id, category_id):
    coco_set.content["images"][0]["id"] = image_id
    coco_set.content["categories"][1]["id"] = category_id
    coco_set.write()
    path = tmp_path / "results.json"
    with CocoResults(str(path), ["dog", "cat"], str(coco_set.json_file)) as writer:
        writer.write(image("a.png"), make_found([0.9], [1]))
    (result,) = json.loads(path.read_text())
    assert (result["image_id"], result["category_id"]) == (image_id, category_id)


def test_results_without_a_json_are_numbered(tmp_path):
    video, found = InputVideo("clip.mp4", "clip.mp4"), make_found([0.9], [4])
    with CocoResults(str(tmp_path / "results.json"), NAMES) as writer:
        writer.write(image("a.png"), found)
        writer.write(frame_of(video, 1), found[:0])
        writer.write(frame_of(video, 2), found)
    one, other = json.loads((tmp_path / "results.json").read_text())
    assert (one["image_id"], one["category_id"], one["file_name"]) == (1, 5, "a.png")
    assert (other["image_id"], other["file_name"], other["frame"]) == (3, "clip.mp4", 2)
    assert "frame" not in one


def test_ids_that_are_not_in_the_json_are_named(coco_set, tmp_path):
    path, annotations = str(tmp_path / "results.json"), str(coco_set.json_file)
    with pytest.raises(ValueError, match="set.json' has no category 'disk'"):
        CocoResults(path, NAMES, annotations)
    with (
        pytest.raises(ValueError, match="set.json' has no image 'd.jpg'"),
        CocoResults(path, ["dog"], annotations) as writer,
    ):
        writer.write(image("d.jpg"), make_found([0.5], [0]))
    assert not (tmp_path / "results.json").exists()  # as it would be incomplete


def test_pictures_and_videos(tmp_path):
    """Two videos, one after the other, and a picture in between."""
    one, other = (InputVideo(f"{x}.avi", f"{x}.mp4", rate=rate) for x, rate in (("a", 5), ("b", 9)))
    found = make_found([0.9], [4])
    with Pictures(str(tmp_path / "out"), NAMES) as writer:
        for k in (1, 2, 3):
            writer.write(frame_of(one, k), found)
        writer.write(image("c.png"), found)
        for k in (1, 2):
            writer.write(frame_of(other, k), found)
    assert cv2.imread(str(tmp_path / "out/c.png")) is not None
    for name, count, rate in (("a", 3, 5), ("b", 2, 9)):
        capture = cv2.VideoCapture(str(tmp_path / f"out/{name}.mp4"))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == count
        assert capture.get(cv2.CAP_PROP_FPS) == rate
        pixels = capture.read()[1]
        assert pixels.shape[1:] == (540, 3)
        assert np.ptp(pixels.astype(int)) > 100  # something was drawn on the gray
