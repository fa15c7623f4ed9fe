import cv2
import numpy as np
import pytest

from helpers import development_data
from scnet import register_coco_json
from scnet.inference.find_inputs import find_images, find_inputs
from scnet.inference.inputs import frames_of


@pytest.fixture
def files(tmp_path, video):
    for name in ("images/a.png", "images/sub/b.jpg", "images/sub/deep/c.JPG"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "images/notes.txt").write_text("not an image")
    return tmp_path / "images"


def pictures(*sources):
    return [x.picture for x in find_inputs(map(str, sources))]


def test_folders_patterns_and_files(files, video):
    assert pictures(files) == ["a.png", "sub/b.png", "sub/deep/c.png"]
    assert pictures(files / "sub/b.jpg") == ["b.png"]
    assert pictures(files / "*") == ["a.png"]
    assert pictures(files / "**/*.[jJ]*") == ["sub/b.png", "sub/deep/c.png"]
    assert pictures(video, files / "a.png") == ["clip.mp4", "a.png"]
    assert pictures(files.parent / "*.mp4") == ["clip.mp4"]
    assert pictures(files, files / "a.png") == ["a.png", "sub/b.png", "sub/deep/c.png"]  # once


def test_names_of_files_may_look_like_something_else(files, monkeypatch):
    """A file "0" is no camera, and "[1].png" no pattern."""
    monkeypatch.chdir(files)
    for name in ("0", "[1].png"):
        (files / name).write_bytes((files / "a.png").read_bytes())
        assert next(frames_of(find_inputs([name]))).pixels.shape == (8, 8, 3)
    assert find_inputs(["1"])[0].camera == 1


def test_data_sets(coco_set):
    name = coco_set.json_file.parent.name
    register_coco_json(name, str(coco_set.json_file), str(coco_set.images))
    found = find_inputs([name])
    assert [x.picture for x in found] == ["a.png", "sub/b.png", "c.png"]
    assert {x.dataset for x in found} == {name} and found[0].record["image_id"] == 1


def test_frames_of_everything_in_order(files, video):
    inputs = find_inputs([str(files / "a.png"), video])
    assert [x.count() for x in inputs] == [1, 3]
    frames = list(frames_of(inputs))
    assert [x.number for x in frames] == [1, 1, 2, 3]
    assert str(frames[2]) == f"Frame 2 of '{video}'"
    assert inputs[1].rate == 5


@pytest.mark.parametrize(
    "sources, message",
    [
        (["nowhere"], "'nowhere' is no image, folder"),
        (["{0}/*.gif"], "holds no images"),
        (["{0}/a.png", "{0}/sub/a.png"], "would both be 'a.png'"),
    ],
)
def test_what_cannot_be_found_is_named(files, sources, message):
    (files / "sub/a.png").write_bytes((files / "a.png").read_bytes())
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        find_images([x.format(files) for x in sources])


def test_a_video_is_no_image(video):
    with pytest.raises(ValueError, match="clip.mp4' is a video or a camera"):
        find_images([video])


@pytest.mark.parametrize("ending, codec", [("avi", "MJPG"), ("mkv", "mp4v"), ("webm", "VP80")])
def test_a_video_gives_the_frames_that_it_says_it_has(tmp_path, ending, codec):
    """Or what is left of it, and then an error."""
    path = tmp_path / f"clip.{ending}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (64, 48))
    for frame in np.random.default_rng(1).integers(0, 255, (20, 48, 64, 3), np.uint8):
        writer.write(frame)
    writer.release()
    assert len(list(frames_of(find_inputs([str(path)])))) == 20
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, number = frames_of(find_inputs([str(path)])), 0
    with pytest.raises(ValueError, match=f"of 20 frames of '.*clip.{ending}' can be read") as info:
        for frame in frames:
            number = frame.number
    assert 0 < number < 20 and f"Only {number} of" in str(info.value)


@pytest.mark.parametrize("name, count", [("damaged_40_frames.mp4", 21), ("cut_40_frames.mp4", 19)])
def test_videos_of_users(name, count):
    with pytest.raises(ValueError, match=f"Only {count} of 40 frames"):
        list(frames_of(find_inputs([str(development_data() / "cases" / name)])))
