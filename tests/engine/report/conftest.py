"""An example of which the page of a report is looked at."""

import shutil

import numpy as np
import pytest
from PIL import Image

from report_sets import NOWHERE, OTHER_CLASS, SIDE, TRUE, make_set, polygon, report, write_set


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """The folder of 0.png to 5.png."""
    folder = tmp_path_factory.mktemp("images")
    for k in range(6):
        pixels = np.random.default_rng(k).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="session")
def example(images, tmp_path_factory):
    """A folder with the images, set.json and results.json; the names of the classes are html."""
    folder = tmp_path_factory.mktemp("example") / "set"
    shutil.copytree(images, folder)
    content, detections = make_set(
        [
            [(0, TRUE, 0.9), (1, TRUE, 0.8), (2, TRUE, 0.7)],
            [(0, TRUE, 0.6), (1, OTHER_CLASS, 0.95)],
            [(1, NOWHERE, 0.5), (2, TRUE, None)],
            [(2, TRUE, 0.4)],
            [],
        ]
    )
    below = {"image_id": 30, "category_id": 10, "bbox": [150, 150, 40, 40], "score": 0.01}
    detections.append({**below, "segmentation": polygon(below["bbox"])})
    write_set(folder, content, detections)
    damaged = folder / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    return folder


@pytest.fixture(scope="session")
def metrics(example):
    """Those of the example, whose report is written."""
    return report(example)
