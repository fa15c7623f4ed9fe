"""What is on the page: the numbers, and the pictures."""

import re
from base64 import b64decode
from html import escape

import cv2
import numpy as np

from report_sets import NAMES, SIDE, cells
from scnet.engine.report.page import METRICS
from scnet.engine.report.write import report_results


def test_the_page_has_the_numbers_of_the_evaluation(example, metrics):
    page = (example / "report.html").read_text()
    head, masks, boxes = cells(page, "overall")
    assert head[1:] == list(METRICS) and (masks[0], boxes[0]) == ("Masks", "Boxes")
    for row, task in ((masks, "segm"), (boxes, "bbox")):
        assert row[1:] == [f"{metrics[task][x]:.1f}" for x in METRICS]
    head, *rows = cells(page, "classes segm")
    for row, name, objects in zip(rows, NAMES, (2, 3, 3)):
        assert row[0] == escape(name, False).replace("'", "&#39;") and row[1] == str(objects)
        assert row[2] == f"{metrics['segm'][f'AP-{name}']:.1f}"
        assert row[3] == f"{metrics['segm'][f'AP50-{name}']:.1f}"
    matrix = cells(page, "matrix")
    assert [row[1:] for row in matrix[1:]] == [
        ["2", "", "", ""],
        ["", "1", "1", "1"],
        ["", "", "2", "1"],
        ["", "1", "", ""],
    ]


def test_pictures_and_those_that_cannot_be_drawn(example, metrics):
    page = (example / "report.html").read_text()
    captions = re.findall(
        r"<b>(\d.png)</b>: F1 ([\d.]+); (\d) found, (\d) missed, (\d) wrong", page
    )
    assert captions == [
        ("2.png", "0.00", "0", "2", "1"),
        ("1.png", "0.50", "1", "1", "1"),
        ("0.png", "1.00", "3", "0", "0"),
        ("3.png", "1.00", "1", "0", "0"),
    ]
    assert "It cannot be shown: Cannot read image" in page
    pictures = re.findall(r'<img src="data:image/jpeg;base64,(.*?)"', page)
    assert len(pictures) == 6
    labels, prediction, *_, last_labels, last_prediction = [
        cv2.imdecode(np.frombuffer(b64decode(x), np.uint8), 1) for x in pictures
    ]
    assert labels.shape == prediction.shape and labels.shape[0] >= 512
    # The second place has an object in both, the third in neither; the classes differ.
    changed = np.abs(labels.astype(int) - prediction).mean(axis=2)
    scale = len(labels) / SIDE
    inside, outside = (
        changed[int(y * scale) :][:50, int(x * scale) :][:, :50] for x, y in ((110, 10), (140, 140))
    )
    assert inside.mean() > 5 * outside.mean()
    # The last image has a detection below the threshold, which is not drawn.
    at = np.s_[int(150 * scale) : int(190 * scale), int(150 * scale) : int(190 * scale)]
    assert np.abs(last_labels[at].astype(int) - last_prediction[at]).mean() < 3


def test_nothing_was_found(example, metrics):
    (example / "nothing.json").write_text("[]")
    paths = [str(example / x) for x in ("set.json", "", "nothing.json", "nothing.html")]
    report_results(*paths)
    page = (example / "nothing.html").read_text()
    assert "The model found nothing at all" in page and "<svg" not in page
    assert [row[1:] for row in cells(page, "matrix")[1:]][0] == ["", "", "", "2"]
