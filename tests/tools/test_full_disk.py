"""A disk that is full: the file that could not be written is named, and the exit status is 1.

A limit to the size of files stands in for it, which OpenCV's own writer meets, too.
"""

import json
import os

import cv2
import numpy as np
import pytest

from helpers import room_for
from scnet.inference.comparison import compare_models


def check_named(predict, path, *args, **kwargs):
    with pytest.raises(SystemExit) as info:
        predict(*args, **kwargs)
    assert info.value.code.startswith(f"predict.py: Could not write '{path}'")
    assert "\n" not in info.value.code  # in which case Python's exit status is 1


def test_pictures_and_label_maps(predict, images, tmp_path):
    """What was found before is kept, and no half of a file."""
    cv2.imwrite(str(images / "b.png"), np.random.default_rng(0).integers(0, 255, (900, 900, 3)))
    json_file, places = ("--json", tmp_path / "x.json"), {"--output": "out", "--masks": "masks"}
    for option, name in places.items():
        predict("--input", images / "a.png", output=(option, tmp_path / name))
        size = (tmp_path / name / "a.png").stat().st_size
        output = (option, tmp_path / name, *json_file)
        arguments = ["--input", images / "a.png", images / "b.png", "--overwrite"]
        with room_for(size if option == "--output" else size - 1):
            first = "b.png" if option == "--output" else "a.png"
            check_named(predict, tmp_path / name / first, *arguments, output=output)
        assert os.listdir(tmp_path / name) == ["a.png"]
        if option == "--output":
            found = json.loads((tmp_path / ".x.part.json").read_text())
            assert {os.path.basename(x["file_name"]) for x in found} == {"a.png"}


def test_results(predict, images, tmp_path):
    with room_for(50):
        check_named(
            *(predict, tmp_path / "x.json", "--input", images),
            output=("--json", tmp_path / "x.json"),
        )
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("size", [4000, 20000])
def test_a_video_that_is_cut(predict, tmp_path, size):
    """OpenCV says nothing itself."""
    clip, path = str(tmp_path / "long.mp4"), tmp_path / "out/long.mp4"
    writer = cv2.VideoWriter(clip, cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 48))
    for frame in np.random.default_rng(1).integers(0, 255, (4, 48, 64, 3), np.uint8):
        writer.write(frame)
    writer.release()
    with room_for(size):
        check_named(predict, path, "--input", clip)
    assert not path.exists() or path.stat().st_size
    assert not list(path.parent.glob(".*"))


def test_the_page_of_a_comparison(weights, images, tiny_cfg, tmp_path):
    (tmp_path / "c.yaml").write_text(tiny_cfg.dump())
    models = [(name, str(tmp_path / "c.yaml"), str(weights)) for name in "ab"]
    with (
        room_for(10),
        pytest.raises(OSError, match="Could not write '.*out/a.png': File too large"),
    ):
        compare_models(models, [str(images / "a.png")], str(tmp_path / "out"))
