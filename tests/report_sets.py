"""Data sets and detections of which one knows what a report has to say, and reports on them."""

import json
import re

from hypothesis import strategies as st

from scnet.engine.report.write import report_results

SIDE = 200
NAMES = ("<img src=nowhere.png onerror=document.title='run'>", "<script>run()</script>", "$a_{&b")
TRUE, NEAR, OTHER_CLASS, NOWHERE = "true", "near", "other class", "nowhere"


def place(number):
    """A box x, y, w, h; those of different numbers do not touch. They are of three sizes."""
    x, y = [(0, 0), (100, 0), (0, 100)][number % 3]
    side = [99, 50, 20][number % 3]
    return [x, y, side, side]


def polygon(box):
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def make_set(outcomes):
    """A json and detections: outcomes[i][j] = (class, what was found, its score or None).

    Image i has an object at each place j, and there or nowhere else a detection.
    """
    content = {
        "images": [
            {"id": 10 * i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE}
            for i in range(len(outcomes))
        ],
        "categories": [{"id": 5 * k, "name": name} for k, name in enumerate(NAMES)],
        "annotations": [],
    }
    detections = []
    for i, of_image in enumerate(outcomes):
        for j, (k, kind, score) in enumerate(of_image):
            box = place(j)
            shared = {"image_id": 10 * i, "category_id": 5 * k}
            content["annotations"].append(
                {
                    **shared,
                    "id": len(content["annotations"]) + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "segmentation": polygon(box),
                }
            )
            if score is not None:
                if kind == NEAR:  # an IoU of 0.72
                    box = [*box[:2], 0.72 * box[2], box[3]]
                shared["category_id"] = 5 * ((k + (kind == OTHER_CLASS)) % len(NAMES))
                box = [150, 150, 40, 40] if kind == NOWHERE else box
                detections.append({**shared, "bbox": box, "segmentation": polygon(box)})
                detections[-1]["score"] = score
    return content, detections


outcomes = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from([TRUE, NEAR, OTHER_CLASS, NOWHERE]),
            st.none() | st.integers(1, 99).map(lambda x: x / 100),
        ),
        max_size=3,
    ),
    min_size=1,
    max_size=6,
)


def write_set(folder, content, detections):
    """Write set.json and results.json."""
    (folder / "set.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(detections))


def report(folder, name="report.html", **options):
    """Write the report of set.json and results.json; returns the metrics."""
    paths = [str(folder / x) for x in ("set.json", "", "results.json", name)]
    return report_results(*paths, **options)


def cells(page, classes):
    """The text of the cells of a table, row by row."""
    table = re.search(rf'<table class="{classes}">(.*?)</table>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
