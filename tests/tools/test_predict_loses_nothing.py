"""What predict.py has found stays, whatever lies among the images and wherever it has to stop."""

import json
import os
import signal

import cv2
import pytest

from helpers import NAMES
from scnet import Predictor
from scnet.inference import predict_files


@pytest.fixture
def places(tmp_path):
    return "--json", tmp_path / "x.json", "--output", tmp_path / "out"


@pytest.fixture
def never_predict(monkeypatch):
    """A refusal comes before the first image."""
    monkeypatch.setattr(Predictor, "stream", lambda *_: pytest.fail("an image was predicted"))


def found(path):
    return {os.path.basename(x["file_name"]) for x in json.loads(path.read_text())}


def test_what_is_no_image_among_the_images(predict, images, places, tmp_path):
    """A folder is looked into, a file of macOS's attributes is none, a dead link is named."""
    (images / "folder.jpg").mkdir()
    (images / "folder.jpg/c.png").write_bytes((images / "a.png").read_bytes())
    (images / "._a.png").write_bytes(b"\0\5\26\7")
    (images / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (images / "cut.png").write_bytes((images / "a.png").read_bytes()[:500])
    for source in (images, images / "**/*"):
        with pytest.raises(SystemExit) as info:
            predict("--input", source, "--overwrite", output=places)
        messages = info.value.code.split("\n")
        assert len(messages) == 2 and "cut.png" in messages[0]
        assert "gone.jpg' does not exist" in messages[1]
        assert found(tmp_path / "x.json") == {"a.png", "b.jpg", "c.png"}


def test_images_without_annotations_are_named_first(
    check_refused, coco_set, images, never_predict, tmp_path
):
    coco_set.content["categories"] = [{"id": k, "name": x} for k, x in enumerate(NAMES, 1)]
    coco_set.write()
    for name in ("y.png", "z.png"):
        (images / name).write_bytes((images / "a.png").read_bytes())
    places = ("--json", tmp_path / "x.json")
    arguments = ["--input", coco_set.images, images, "--annotations", coco_set.json_file]
    check_refused(f"has no image '{images / 'y.png'}', nor 1 more", *arguments, output=places)
    coco_set.json_file.write_text('{"images": [{"id": 1}], "categories": []}')
    check_refused("without 'file_name'", *arguments, output=places)
    coco_set.json_file.write_text("{")
    check_refused("set.json' is no json", *arguments, output=places)


@pytest.mark.parametrize(
    "output, message",
    [
        (("--json", "folder"), "folder' is a folder"),
        (("--json", "file/x.json"), "file' is no folder"),
        (("--output", "file"), "file' is no folder"),
        (("--masks", "file/deep/masks"), "file' is no folder"),
        (("--output", "link"), "link' is no folder"),
        (("--json", "closed/x.json"), "not write into the folder '.*closed'"),
    ],
)
def test_places_that_cannot_be_written_are_named_first(
    predict, images, never_predict, monkeypatch, tmp_path, output, message
):
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    access = os.access  # the superuser may write anywhere
    monkeypatch.setattr(os, "access", lambda x, mode: "closed" not in x and access(x, mode))
    option, place = output
    with pytest.raises(SystemExit, match=message):
        predict("--input", images, "--overwrite", output=(option, tmp_path / place))


def test_the_json_is_written_as_the_objects_come(predict, images, monkeypatch, tmp_path):
    """So a process that is killed leaves those of the images before."""
    stream, seen, path = Predictor.stream, [], tmp_path / "x.json"

    def watched(self, frames):
        if (tmp_path / ".x.part.json").exists():
            seen.append((tmp_path / ".x.part.json").read_text())
        assert not path.exists()
        return stream(self, frames)

    monkeypatch.setattr(Predictor, "stream", watched)
    predict("--input", images, images / "a.png", output=("--json", path))
    results = json.loads(path.read_text())
    first = [x for x in results if x["file_name"].endswith("a.png")]
    assert json.loads(seen[-1]) == first and len(first) < len(results)
    assert os.listdir(tmp_path).count(".x.part.json") == 0


def test_an_error_leaves_what_was_found(predict, images, places, monkeypatch, caplog, tmp_path):
    """Here the network fails at the second image."""
    stream, calls = Predictor.stream, []

    def failing(self, frames):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return stream(self, frames)

    monkeypatch.setattr(Predictor, "stream", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        predict("--input", images, output=places)
    assert not (tmp_path / "x.json").exists()
    assert found(tmp_path / ".x.part.json") == {"a.png"}
    assert f"before the error is in '{tmp_path / '.x.part.json'}'" in caplog.text
    assert cv2.imread(str(tmp_path / "out/a.png")) is not None


def test_an_error_before_the_first_image_leaves_nothing(predict, images, monkeypatch, tmp_path):
    def failing(self, frames):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Predictor, "stream", failing)
    with pytest.raises(RuntimeError):
        predict("--input", images, output=("--json", tmp_path / "out/x.json"))
    assert os.listdir(tmp_path / "out") == []


def test_a_signal_while_a_picture_is_written(predict, images, places, monkeypatch, tmp_path):
    """The picture is finished."""
    draw, calls = predict_files.Pictures.write, []

    def interrupted(self, *args):
        calls.append(1)
        signal.raise_signal(signal.SIGTERM)
        draw(self, *args)

    monkeypatch.setattr(predict_files.Pictures, "write", interrupted)
    with pytest.raises(SystemExit) as info:
        predict("--input", images, output=places)
    assert info.value.code == 143 and len(calls) == 1
    assert cv2.imread(str(tmp_path / "out/a.png")) is not None
    assert found(tmp_path / "x.json") == {"a.png"}


def test_an_unfinished_video_does_not_have_its_name(predict, video, monkeypatch, tmp_path):
    stream, calls = Predictor.stream, []

    def watched(self, frames):
        calls.append((tmp_path / "out/clip.mp4").exists())
        return stream(self, frames)

    monkeypatch.setattr(Predictor, "stream", watched)
    predict("--input", video)
    assert calls == [False] * 3
    assert os.listdir(tmp_path / "out") == ["clip.mp4"]
    assert cv2.VideoCapture(str(tmp_path / "out/clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_label_maps_have_their_names_when_they_are_whole(predict, images, monkeypatch, tmp_path):
    def failing(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(SystemExit, match="Could not write '.*masks/a.png': No space left"):
        predict("--input", images, output=("--masks", tmp_path / "masks"))
    assert os.listdir(tmp_path / "masks") == []
