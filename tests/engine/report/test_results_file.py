"""Detections that are read from a file."""

import json
import shutil

import pytest

from report_sets import TRUE, cells, make_set, report, write_set
from scnet.engine.evaluation.ground_truth import GroundTruth
from scnet.engine.report.results_file import read_results


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image_id": 7}, "has the image_id 7, which '.*' does not have"),
        ({"image_id": [10]}, "has the image_id"),
        ({"category_id": 1}, "has the category_id 1"),
        ({"score": None}, "has the score None, which is no number"),
        ({"score": float("nan")}, "has the score nan"),
        ({"bbox": [1, 2, 3]}, "has the bbox"),
        ({"bbox": [1, 2, -3, 4]}, "has the bbox"),
        ({"segmentation": {"size": [9, 9], "counts": "1"}}, "has a segmentation that is an RLE of"),
        ({"bbox": None, "segmentation": None}, "has neither 'bbox' nor 'segmentation'"),
        ({"segmentation": None}, "has not the entries"),
    ],
)
def test_mistakes_in_results(tmp_path, change, message):
    content, detections = make_set([[(0, TRUE, 0.9), (1, TRUE, 0.9)]])
    changed = {**detections[1], **change}
    detections[1] = {k: v for k, v in changed.items() if v is not None or k == "score"}
    (tmp_path / "results.json").write_text(json.dumps(detections))
    with pytest.raises(ValueError, match=f"Detection 1 .*results.json' {message}"):
        read_results(str(tmp_path / "results.json"), GroundTruth(content), "set.json")


@pytest.mark.parametrize(
    "text, message",
    [
        ("[", "is no json"),
        ('{"images": []}', "holds a dict, but results"),
        ("[3]", "Detection 0 .* is 3, but must be an object"),
    ],
)
def test_files_that_are_no_results(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(str(tmp_path / "results.json"), GroundTruth(make_set([[]])[0]), "set.json")


def test_masks_that_are_compared_with_boxes(images, tmp_path):
    content, detections = make_set([[(0, TRUE, 0.9)]])
    content["annotations"][0]["segmentation"] = []
    write_set(tmp_path, content, detections)
    shutil.copy(images / "0.png", tmp_path)
    with pytest.raises(ValueError, match="has masks, but 1 objects of .* have none"):
        report(tmp_path)
    del detections[0]["segmentation"]
    write_set(tmp_path, content, detections)
    assert report(tmp_path)["bbox"]["AP"] == pytest.approx(100)
    assert [row[0] for row in cells((tmp_path / "report.html").read_text(), "overall")[1:]] == [
        "Boxes"
    ]
