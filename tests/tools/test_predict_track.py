"""predict.py --track."""

import json
from importlib.util import find_spec

import cv2
import numpy as np
import pytest


@pytest.fixture
def still(tmp_path):
    """A video of one picture, three times."""
    path = str(tmp_path / "still.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(3):
        writer.write(np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    return path


@pytest.mark.skipif(find_spec("trackers") is None, reason="the package trackers is not installed")
def test_objects_have_numbers_from_their_second_frame_on(predict, still, tmp_path):
    """What does not move has one number, and one class, until the end of the video."""
    places = ("--output", tmp_path / "out", "--json", tmp_path / "x.json")
    places += ("--masks", tmp_path / "m")
    predict("--input", still, "--track", "--json-threshold", 0.1, output=places, threshold=0.1)
    results = json.loads((tmp_path / "x.json").read_text())
    assert not [x for x in results if x["frame"] == 1 and "track_id" in x]
    second, third = (
        {x["track_id"]: (x["category_name"], x["bbox"]) for x in results if x["frame"] == frame}
        for frame in (2, 3)
    )
    assert second == third and min(second) == 1
    maps = [cv2.imread(str(tmp_path / f"m/still/00000{k}.png"), -1) for k in (1, 2, 3)]
    assert not maps[0].any() and np.array_equal(maps[1], maps[2])
    assert set(np.unique(maps[1])) - {0} <= second.keys() and maps[1].any()
    assert cv2.VideoCapture(str(tmp_path / "out/still.mp4")).isOpened()


def test_images_are_not_tracked(check_refused, images):
    message = "--track is for videos and streams, but"
    check_refused(message, "--input", images, "--track")
