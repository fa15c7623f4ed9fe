"""predict.py with videos and a camera, and what ends it early."""

import json
import re
import shutil
import signal

import cv2
import numpy as np
import pytest
import torch

from helpers import NAMES
from scnet import Predictor
from scnet.inference.coco_results import CocoResults


def test_a_video_that_is_cut_off(predict, video, images, tmp_path):
    """What could be read is written, and so is what comes after it."""
    short = tmp_path / "short.avi"
    writer = cv2.VideoWriter(str(short), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for frame in np.random.default_rng(1).integers(0, 255, (8, 48, 64, 3), np.uint8):
        writer.write(frame)
    writer.release()
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])
    (tmp_path / "none.mp4").write_bytes(b"no video")
    with pytest.raises(SystemExit) as info:
        predict("--input", short, tmp_path / "none.mp4", video)
    first, other = info.value.code.split("\n")
    found = re.search(r"Only (\d) of 8 frames of '.*short.avi' can be read", first)
    assert 0 < int(found[1]) < 8
    assert "Cannot open video" in other and "none.mp4" in other
    for name, count in (("short", int(found[1])), ("clip", 3)):
        capture = cv2.VideoCapture(str(tmp_path / f"out/{name}.mp4"))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == count


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_what_was_done_is_whole(
    predict, video, images, monkeypatch, tmp_path, number, status
):
    """It comes while the third image is predicted, and again while the json is written."""
    stream, close, calls = Predictor.stream, CocoResults.close, []

    def interrupted(self, frames):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(number)
        return stream(self, frames)

    def interrupted_close(self):
        signal.raise_signal(number)
        close(self)

    monkeypatch.setattr(Predictor, "stream", interrupted)
    monkeypatch.setattr(CocoResults, "close", interrupted_close)
    before = signal.getsignal(number)
    places = ("--output", tmp_path / "out", "--json", tmp_path / "x.json")
    with pytest.raises(SystemExit) as info:
        predict("--input", video, images, output=places)
    assert info.value.code == status
    assert signal.getsignal(number) is before
    assert {x["frame"] for x in json.loads((tmp_path / "x.json").read_text())} == {1, 2}
    assert cv2.VideoCapture(str(tmp_path / "out/clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 2
    assert not (tmp_path / "out/a.png").exists()


def test_images_and_a_video_in_all_formats(predict, weights, images, video, tiny_cfg, tmp_path):
    """The same as the predictor gives, one by one, whatever the size of the batch."""
    places = {x: tmp_path / x for x in ("out", "masks", "results.json")}
    output = predict(
        *("--input", images, video, "--batch-size", 3, "--classes", *NAMES[:4]),
        output=(
            "--output",
            places["out"],
            "--masks",
            places["masks"],
            "--json",
            places["results.json"],
        ),
    )
    assert "5/5" in output and f"5 images in {places['results.json']}" in output
    found = list(Predictor(str(weights), tiny_cfg, classes=NAMES[:4]).stream([images, video]))
    results = json.loads(places["results.json"].read_text())
    assert [len(x) for x in found] == [
        sum(r["image_id"] == k for r in results) for k in range(1, 6)
    ]
    scores = torch.cat([x.scores for x in found]).tolist()
    assert [x["score"] for x in results] == pytest.approx(scores, abs=1e-4)
    assert [x["frame"] for x in results if x["file_name"] == video][-1] == 3
    masks = ["a.png", "sub/b.png", *(f"clip/{k:06d}.png" for k in (1, 2, 3))]
    for name, instances in zip(masks, found):
        labels = cv2.imread(str(places["masks"] / name), cv2.IMREAD_UNCHANGED)
        assert labels.shape == instances.image_size
        covered = instances.pred_masks.any(dim=0).numpy()
        assert ((labels > 0) != covered).mean() <= 1e-2
    capture = cv2.VideoCapture(str(places["out"] / "clip.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert (places["out"] / "sub/b.png").exists()


def test_a_limit_counts_images_and_frames(predict, images, video, tmp_path):
    output = predict("--input", images / "a.png", video, images, "--limit", 3)
    assert "3/3" in output
    assert sorted(x.name for x in (tmp_path / "out").rglob("*.*")) == ["a.png", "clip.mp4"]
    assert cv2.VideoCapture(str(tmp_path / "out/clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_a_camera_that_is_stopped(predict, video, monkeypatch, tmp_path):
    """Ctrl-C ends it; what was seen is written. OpenCV reads a camera in the way of a file."""
    copy, opened = shutil.copy(video, tmp_path / "copy.mp4"), cv2.VideoCapture

    class Camera:
        def __init__(self):
            self.capture, self.left = opened(str(copy)), 2

        def read(self):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return self.capture.read()

        def __getattr__(self, name):
            return getattr(self.capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", lambda x: Camera() if x == 0 else opened(x))
    places = ("--output", tmp_path / "out", "--json", tmp_path / "x.json")
    output = predict("--input", "0", output=places)
    assert "2 images in" in output
    assert {x["frame"] for x in json.loads((tmp_path / "x.json").read_text())} == {1, 2}
    written = opened(str(tmp_path / "out/camera0.mp4"))
    # More where a frame is shown until the next one comes.
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) >= 2
