"""Videos that are written: what a player shows of them, and when."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from browser import play
from helpers import room_for
from scnet.inference.clock import Clock
from scnet.inference.find_inputs import find_inputs
from scnet.inference.inputs import frames_of
from scnet.inference.video_files import H264Video, Mpeg4Video, open_video

TIMES = (0, 0.1, 0.5, 0.6, 1.6)  # seconds, at which there are pictures
BOTH = pytest.mark.parametrize("kind", [H264Video, Mpeg4Video])


def make(kind, path, size=(47, 63), times=TIMES, rate=10):
    """Write a video of red pictures, each 50 levels brighter; the last column is white."""
    if kind is H264Video:
        pytest.importorskip("av", reason="PyAV is not installed")
    video = kind(str(path), rate, size)
    for k, time in enumerate(times):
        picture = np.zeros((*size, 3), np.uint8)
        picture[:, :, 0] = 50 * k
        picture[:, -1] = 255
        video.write(picture, time)
    return video


def number_of(pixels):
    """Which picture of :func:`make` it is, by its red."""
    return round(pixels[24, 10, 2] / 50)


def shown(path):
    """The pictures of a video as OpenCV reads them, with their times in seconds."""
    capture = cv2.VideoCapture(str(path))
    while True:
        there, pixels = capture.read()
        if not there:
            return
        yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, pixels


@BOTH
def test_pictures_are_shown_at_their_times_and_none_is_cut_off(kind, tmp_path):
    """Of 47 × 63 pixels, which codecs do not take: the last row and column come twice."""
    make(kind, tmp_path / "a.mp4").close()
    first = {}
    for time, pixels in shown(tmp_path / "a.mp4"):
        assert pixels.shape == (48, 64, 3)
        assert pixels[:, -1].min() > 200  # not dark, as what a codec adds
        first.setdefault(number_of(pixels), time)
    assert first == {k: pytest.approx(time, abs=0.001) for k, time in enumerate(TIMES)}
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    count, rate = (capture.get(x) for x in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    assert count / rate == pytest.approx(1.7)  # the last one is shown as long as the rate says
    assert [x.name for x in tmp_path.iterdir()] == ["a.mp4"]


@BOTH
def test_pictures_that_come_too_fast_are_all_there(kind, tmp_path):
    make(kind, tmp_path / "a.mp4", times=(0, 0, 0.001, 0.002)).close()
    times, pictures = zip(*shown(tmp_path / "a.mp4"))
    assert [number_of(x) for x in pictures] == [0, 1, 2, 3]
    assert list(times) == sorted(set(times))


@BOTH
def test_a_picture_of_another_size_is_scaled(kind, tmp_path, caplog):
    """As from a camera that is set to another size. OpenCV would leave it out and say nothing."""
    video = make(kind, tmp_path / "a.mp4", times=(0,))
    video.write(np.full((90, 90, 3), 200, np.uint8), 0.1)
    video.close()
    *_, (_, last) = shown(tmp_path / "a.mp4")
    assert last.shape == (48, 64, 3) and abs(last.mean() - 200) < 5
    assert "a.mp4' have another size than the first of 64 × 48 pixels" in caplog.text


@BOTH
@pytest.mark.parametrize("room", [20, 3000])
def test_a_full_disk_is_named_and_leaves_nothing_that_is_no_video(kind, tmp_path, room):
    def write():
        video = make(kind, tmp_path / "a.mp4", times=())
        noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        try:
            for k in range(20):
                video.write(noise, k)
        finally:
            video.close()

    with room_for(room), pytest.raises(OSError, match="Could not write '.*/a.mp4'"):
        write()
    assert not list(tmp_path.glob(".*"))
    for path in tmp_path.iterdir():
        assert list(shown(path))


def test_without_pyav_the_log_says_that_browsers_do_not_play_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("scnet.inference.video_files.find_spec", lambda x: None)
    video = open_video(str(tmp_path / "a.mp4"), 5, (48, 64))
    video.finish()
    assert isinstance(video, Mpeg4Video)
    assert "a.mp4' is in MPEG-4 Part 2, which browsers do not play" in caplog.text


@pytest.mark.slow
def test_a_browser_plays_it(tmp_path):
    """From its first to its last picture, upright and in its colours."""
    make(H264Video, tmp_path / "a.mp4").close()
    played = play(tmp_path / "a.mp4", tmp_path, until=0.55)
    assert (played["width"], played["height"]) == (64, 48)
    assert played["duration"] == pytest.approx(1.7)
    assert played["pixel"] == pytest.approx([50 * TIMES.index(0.5), 0, 0], abs=10)


def turn(path: Path):
    """Let an mp4 say that its pictures are to be turned by 90°, as a phone that is held upright."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # after the box's name: version, times, id, ..., the matrix
    matrix = np.array([0, 1, 0, -1, 0, 0, 0, 0, 2**14], ">i4") * 2**16
    content[at : at + 36] = matrix.astype(">i4").tobytes()
    path.write_bytes(content)


def test_the_video_of_a_phone_is_upright(tmp_path):
    """OpenCV turns it as the file says; the white column at the right is then at the bottom."""
    make(Mpeg4Video, tmp_path / "a.mp4", size=(48, 64)).close()
    turn(tmp_path / "a.mp4")
    frame = next(frames_of(find_inputs([str(tmp_path / "a.mp4")])))
    assert frame.pixels.shape == (64, 48, 3)
    assert frame.pixels[-1].min() > 200 and frame.pixels[:-4].max() < 50


def test_frames_come_at_their_times(tmp_path):
    """Also where the rate of the file varies, as with phones."""
    make(H264Video, tmp_path / "a.mp4").close()
    frames = frames_of(find_inputs([str(tmp_path / "a.mp4")]))
    assert [x.time for x in frames] == pytest.approx(TIMES, abs=0.001)


@pytest.mark.parametrize(
    "given, times",
    [
        ([7, 7.04, 7.12, 7.13], [0, 0.04, 0.12, 0.13]),
        ([0, 0.04, 0.08, 0], [0, 0.04, 0.08, 0.12]),  # the last one of an MPEG file
        ([0, 0.08, 0.04, 0.12, 0.16], [0, 0.08, 0.12, 0.16, 0.2]),  # not in their order
        ([0, 0.04, 95443, 95443.5], [0, 0.04, 0.08, 0.58]),  # the clock of a stream begins anew
        ([95443, 95443.04, 0, 0.5], [0, 0.04, 0.08, 0.58]),
        ([0, 0, 0], [0, 0.04, 0.08]),
        ([0, 9, 18], [0, 9, 18]),
    ],
)
def test_times_rise(given, times):
    clock = Clock(25)
    assert [clock.time(x) for x in given] == pytest.approx(times)


def test_pauses_of_a_slow_video_are_kept():
    clock = Clock(1 / 60)
    assert [clock.time(x) for x in (0, 60, 120)] == pytest.approx([0, 60, 120])
