"""Files whose names are not in UTF-8, which Linux allows and at which OpenCV crashes."""

import json
import os
import shutil
import sys

import cv2
import numpy as np
import pytest

from scnet.inference.comparison import compare_models
from scnet.inference.inputs import InputVideo
from scnet.inference.video_files import open_video
from scnet.whole_files import write_png

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="others have only text as names")
NAME = os.fsdecode(b"caf\xe9")


@pytest.fixture
def odd(images):
    """A folder of such a name, with such an image."""
    folder = images / NAME
    folder.mkdir()
    shutil.copy(images / "a.png", folder / f"{NAME}.png")
    return folder


def test_every_picture_is_written_without_opencv_seeing_its_name(monkeypatch, tmp_path):
    """It is what OpenCV writes itself; 16 bits too."""
    pixels = np.random.default_rng(0).integers(0, 2**16, (8, 6, 3), np.uint16)
    for image in (pixels, pixels[:, :, 0], pixels.astype(np.uint8)):
        write_png(str(tmp_path / f"{NAME}.png"), image)
        content = np.frombuffer((tmp_path / f"{NAME}.png").read_bytes(), np.uint8)
        assert np.array_equal(cv2.imdecode(content, cv2.IMREAD_UNCHANGED), image)


def test_prediction(predict, odd, monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "imwrite", None)  # a crash would end the tests
    places = [("--output", "out"), ("--masks", "masks"), ("--json", "x.json")]
    output = [x for option, name in places for x in (option, odd / name)]
    printed = predict("--input", odd, output=output)
    assert "1 images in" in printed and "caf\\udce9" in printed
    for name in ("out", "masks"):
        assert os.listdir(odd / name) == [f"{NAME}.png"]
    [file_name] = {x["file_name"] for x in json.loads((odd / "x.json").read_text())}
    assert file_name == str(odd / f"{NAME}.png")


def test_comparison(weights, odd, tiny_cfg, monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "imwrite", None)
    (tmp_path / "c.yaml").write_text(tiny_cfg.dump())
    models = [(name, str(tmp_path / "c.yaml"), str(weights)) for name in "ab"]
    compare_models(models, [str(odd)], str(tmp_path / "out"))
    page = (tmp_path / "out/index.html").read_text()
    assert 'src="caf%E9.png"' in page and (tmp_path / f"out/{NAME}.png").exists()


def test_videos_are_named(check_refused, images, video, monkeypatch, tmp_path):
    """They are read and written by OpenCV alone."""
    monkeypatch.setattr(cv2, "VideoCapture", None)
    monkeypatch.setattr(cv2, "VideoWriter", None)
    path = shutil.copy(video, tmp_path / f"{NAME}.mp4")
    check_refused("name is not in UTF-8. Rename it", "--input", path)
    assert InputVideo(path, "x.mp4").count() is None
    with pytest.raises(OSError, match="name is not in UTF-8"):
        open_video(path, 5, (8, 8))
