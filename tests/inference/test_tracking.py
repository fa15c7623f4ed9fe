"""The numbers of objects in videos, on boxes that are made."""

import json
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import NAMES, REPOSITORY
from scnet import visualization
from scnet.inference import tracking
from scnet.inference.coco_results import CocoResults
from scnet.inference.inputs import Frame, InputVideo
from scnet.inference.tracking import Tracker, number_objects

RATE = 25
needs_trackers = pytest.mark.skipif(
    find_spec("trackers") is None, reason="the package trackers is not installed"
)


def found(*objects):
    """Instances of (x, y, class, score), each with a box of 40 × 40 pixels."""
    boxes = [[x, y, x + 40, y + 40] for x, y, *_ in objects]
    return Instances(
        (200, 400),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        pred_classes=torch.tensor([k for *_, k, _ in objects], dtype=torch.int64),
        scores=torch.tensor([score for *_, score in objects], dtype=torch.float32),
    )


def numbers_of(frames, tracker=None, rate=RATE):
    """The numbers in each frame, which is a list of objects."""
    tracker = tracker or Tracker(0.5, rate)
    updated = [tracker.update(found(*x), k / rate) for k, x in enumerate(frames)]
    return [x.track_ids.tolist() for x in updated]


@needs_trackers
@settings(max_examples=15)
@given(
    speed=st.floats(2, 8),
    apart=st.integers(25, 60),
    missed=st.dictionaries(st.integers(3, 38), st.sampled_from("ab"), max_size=8),
    swap=st.booleans(),
)
def test_objects_that_cross_keep_their_numbers(speed, apart, missed, swap):
    """Two of one class, in any order in the frames, of which one or the other is missed."""
    numbers = {"a": set(), "b": set()}
    tracker = Tracker(0.5, RATE)
    for k in range(40):
        objects = {"a": (speed * k, 50, 0, 0.9), "b": (320 - speed * k, 50 + apart, 0, 0.8)}
        objects.pop(missed.get(k), None)
        names = sorted(objects, reverse=swap and k % 2 == 0)
        ids = tracker.update(found(*(objects[x] for x in names)), k / RATE).track_ids.tolist()
        for name, number in zip(names, ids):
            numbers[name].add(number)
    # 0 is the first time that each is seen.
    assert sorted(map(sorted, numbers.values())) == [[0, 1], [0, 2]]


@needs_trackers
def test_each_class_is_tracked_for_itself():
    """Two classes at one place, whose scores and order change, keep their numbers."""
    one, other = (10, 10, 3, 0.9), (12, 10, 1, 0.6)
    assert numbers_of([[one, other], [one, other], [other, one], [other, one]]) == [
        *([0, 0], [2, 1], [1, 2], [1, 2])
    ]


@needs_trackers
def test_a_number_is_never_used_twice():
    """Neither after an object is gone, nor by another class that comes later."""
    here, there = (10, 10, 0, 0.9), (300, 100, 0, 0.9)
    assert numbers_of(
        [[here]] * 3 + [[]] * 2 * RATE + [[there]] * 2 + [[(10, 10, 2, 0.9)]] * 2
    ) == [*([0], [1], [1], *[[]] * 2 * RATE, [0], [2], [0], [3])]


@needs_trackers
def test_an_object_that_was_away_for_more_than_a_second_is_another():
    """In a slow stream it may be away for longer between two frames, but then it was not missed."""
    x = (10, 10, 0, 0.9)
    assert numbers_of([[x], [x], *[[]] * 20, [x]])[-1] == [1]
    assert numbers_of([[x], [x], *[[]] * 30, [x]])[-1] == [0]
    assert numbers_of([[x]] * 4, rate=1 / 3) == [[0], [1], [1], [1]]
    tracker = Tracker(0.5, RATE)  # as that of a camera that says so
    assert [tracker.update(found(x), 3 * k).track_ids.item() for k in range(4)] == [0, 1, 1, 1]


@needs_trackers
def test_the_times_of_the_frames_count_and_not_their_number():
    """As in a video whose rate varies: forty frames that last 0.4 seconds."""
    tracker, x = Tracker(0.5, RATE), (10, 10, 0, 0.9)
    frames = [(0, [x]), (0.04, [x]), *((0.05 + k / 100, []) for k in range(40)), (0.5, [x])]
    assert [tracker.update(found(*y), t).track_ids.tolist() for t, y in frames][-1] == [1]


@needs_trackers
def test_an_object_has_a_number_when_it_is_seen_twice_in_a_row():
    x = (10, 10, 0, 0.9)
    assert numbers_of([[x], [], [x], [x]]) == [[0], [], [0], [1]]


@needs_trackers
def test_scores_between_the_thresholds_continue_a_track_and_begin_none():
    high, low, lowest = ((10, 10, 1, score) for score in (0.7, 0.2, 0.05))
    assert numbers_of([[low]] * 3) == [[0]] * 3
    assert numbers_of([[high], [high], [low], [lowest]]) == [[0], [1], [1], [0]]
    of_classes = torch.tensor([0.5, 0.15])
    assert numbers_of([[low]] * 3, Tracker(of_classes, RATE)) == [[0], [1], [1]]


@needs_trackers
def test_a_frame_follows_the_one_before():
    tracker = Tracker(0.5)
    tracker.update(found(), 1.0)
    with pytest.raises(ValueError, match="A frame at 1.0 s cannot follow one at 1.0 s"):
        tracker.update(found(), 1.0)


@needs_trackers
def test_a_new_video_begins_anew():
    pixels, x = np.zeros((1, 1, 3), np.uint8), (10, 10, 0, 0.9)
    videos = [InputVideo(name, name, rate=RATE) for name in ("a.mp4", "b.mp4")]
    frames = [
        (Frame(video, k + 1, pixels, k / RATE), found(x)) for video in videos for k in range(3)
    ]
    numbered = [(x.source.file_name, y.track_ids.item()) for x, y in number_objects(frames, 0.5)]
    assert numbered == [(video.file_name, number) for video in videos for number in (0, 1, 1)]


def test_numbers_are_written_and_drawn(tmp_path, monkeypatch):
    instances = found((10, 10, 0, 0.9), (90, 10, 0, 0.8))
    instances.track_ids = torch.tensor([7, 0])
    frame = Frame(InputVideo("a.mp4", "a.mp4"), 1, np.zeros((200, 400, 3), np.uint8))
    with CocoResults(str(tmp_path / "x.json"), NAMES) as writer:
        writer.write(frame, instances)
    one, other = json.loads((tmp_path / "x.json").read_text())
    assert one["track_id"] == 7 and "track_id" not in other
    monkeypatch.setattr(visualization, "draw_objects", lambda *x: x)
    *_, labels = visualization.draw_detections(frame.pixels, instances, NAMES)
    assert labels == [f"{NAMES[0]} #7 90%", f"{NAMES[0]} 80%"]


def test_without_the_package_one_sentence_says_what_to_do(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(tracking, "import_module", missing)
    with pytest.raises(ValueError, match="needs the package trackers.* 'trackers>=2.6.1'"):
        Tracker(0.5)


@needs_trackers
def test_the_recipe_of_the_documentation(weights, tmp_path, monkeypatch, capsys):
    """On a picture that stays: what is in all frames has one number, and supervision takes it."""
    text = (REPOSITORY / "docs/video.md").read_text()
    [recipe] = [x.split("```")[0] for x in text.split("```python\n")[1:] if "Tracker" in x]
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48)
    )
    picture = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    for _ in range(3):
        writer.write(picture)
    writer.release()
    recipe = recipe.replace("output/own_data/model_final.pth", weights)
    recipe = recipe.replace("clip.mp4", str(tmp_path / "clip.avi")).replace(
        "Tracker(0.5)", "Tracker(0.1)"
    )
    variables = {}
    exec(recipe, variables)
    assert len(capsys.readouterr().out.splitlines()) == 3
    ids = variables["instances"].track_ids.tolist()
    assert max(ids) > 0 and variables["detections"].tracker_id.tolist() == ids
