"""Streams of the network, read from a server in this process."""

import itertools
import logging
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from scnet.inference import inputs, streams
from scnet.inference.find_inputs import find_inputs
from scnet.inference.predict_files import is_live

SECRET = "s3cret"
HEAD = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"

ENOUGH = 3  # frames, for OpenCV to open a stream


@contextmanager
def serve(answer):
    """A server on this machine: ``answer`` gets the handler of each request.

    Yields:
        the beginning of its URLs, with a user and a password.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(OSError):  # whoever asked has gone
                answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield f"http://user:{SECRET}@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def begin(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()


def send(handler, level):
    """Send a gray picture."""
    content = cv2.imencode(".jpg", np.full((48, 64, 3), level, np.uint8))[1].tobytes()
    handler.wfile.write(HEAD % len(content) + content + b"\r\n")
    handler.wfile.flush()


@pytest.fixture
def quick(monkeypatch):
    """Open a stream that broke again at once; a busy machine may take long to send a frame."""
    monkeypatch.setattr(streams, "WAITS", (0.01,) * 3)
    set_patience(monkeypatch, 60)


@pytest.fixture
def impatient(quick, monkeypatch):
    """Give a stream that says nothing a second."""
    set_patience(monkeypatch, 1)


def set_patience(monkeypatch, seconds):
    """How long a stream has to answer, and to send its next frame."""
    for module in (inputs, streams):
        monkeypatch.setattr(module, "OPEN_SECONDS", seconds)
    monkeypatch.setattr(streams, "READ_SECONDS", seconds)


@pytest.fixture
def logged(caplog, capfd):
    """What the log says. Neither it nor what OpenCV prints has the password."""
    caplog.set_level(logging.INFO)
    yield caplog
    printed = "".join(capfd.readouterr())
    assert SECRET not in caplog.text + printed and "user:" not in caplog.text + printed


def level_of(frame):
    return round(frame.pixels.mean())


def test_a_stream_that_breaks_is_opened_again_until_it_is_gone(quick, logged):
    """Twice there is no answer in between. Each connection goes on a bit, then it breaks."""
    count = iter(range(1, 100))

    def answer(handler):
        number = next(count)
        if number in (2, 3) or number > 4:
            handler.send_error(503)
            return
        begin(handler)
        assert number == 1 or taken.wait(60)  # so that the first frame is not dropped
        for _ in range(ENOUGH):
            send(handler, 10 * number)

    taken = threading.Event()
    with serve(answer) as url:
        [source] = find_inputs([f"{url}/cam?token={SECRET}"])
        levels = []
        with pytest.raises(ValueError, match=r"/cam\?...' broke after \d frames, and could not"):
            for frame in source.frames():
                levels.append(level_of(frame))
                taken.set()
        assert levels[0] == 10 and levels[-1] == 40
        assert next(count) == 8  # after the fourth connection there were three more
    assert logged.text.count("cam?...' broke. It is opened again") == 2
    assert f"{len(levels)} frames were used, {2 * ENOUGH - len(levels)} came while" in logged.text
    assert "It was opened again 1 times" in logged.text


def test_frames_that_come_too_fast_are_dropped_and_counted(quick, logged):
    """What is taken next is the newest frame, not the one after that which was taken before."""
    ready, done, connections = threading.Semaphore(0), threading.Event(), itertools.count()

    def answer(handler):
        if next(connections):  # the first has ended
            handler.send_error(503)
            return
        begin(handler)
        for level in (10, 20, 30, 40):
            send(handler, level)
        assert ready.acquire(timeout=60)
        send(handler, 50)
        done.wait(60)

    with serve(answer) as url:
        newest = streams.LatestFrames(streams.open_url(url), url)
        frames = iter(newest)
        first = next(frames)
        wait_until(lambda: newest.latest is not None and newest.latest[1].mean() > 38)
        before = newest.dropped
        second = next(frames)
        ready.release()
        third = next(frames)
        done.set()
        frames.close()
    assert [round(x[1].mean()) for x in (second, third)] == [40, 50]
    assert newest.dropped == before == 2 - (round(first[1].mean()) - 10) // 10
    assert first[0] <= second[0] < third[0]


def wait_until(condition):
    for _ in range(6000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("what was waited for did not come within a minute")


@pytest.mark.parametrize("silent", [True, False], ids=["silence", "no video"])
def test_what_does_not_answer_with_a_video_ends_in_a_sentence(impatient, logged, silent):
    over = threading.Event()

    def answer(handler):
        if silent:
            over.wait(60)
        else:
            handler.send_error(401)

    with serve(answer) as url:
        [source] = find_inputs([f"{url}/cam"])
        try:
            with pytest.raises(ValueError, match="Cannot open stream 'http://127.0.0.1:.*/cam'"):
                next(source.frames())
        finally:
            over.set()


def test_a_stream_that_falls_silent_breaks(impatient, logged):
    over = threading.Event()

    def answer(handler):
        begin(handler)
        for level in (10, 90):
            for _ in range(ENOUGH):
                send(handler, level)
            over.wait(20)

    with serve(answer) as url:
        [source] = find_inputs([f"{url}/cam"])
        frames = source.frames()
        try:
            while "is there again" not in logged.text:
                assert level_of(next(frames)) == 10
        finally:
            frames.close()  # first, so that the second connection is not opened a third time
            over.set()
    assert "cam' broke. It is opened again in" in logged.text
    assert "was opened again 1 times" in logged.text


def test_a_video_in_the_network_has_an_end(video, quick, logged):
    """It is no stream that breaks, and none of its frames is dropped."""
    content = Path(video).read_bytes()

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    with serve(answer) as url:
        [source] = find_inputs([f"{url}/clip.mp4"])
        frames = list(source.frames())
    assert [x.number for x in frames] == [1, 2, 3] and not is_live(source)
    assert [x.time for x in frames] == pytest.approx([0, 0.2, 0.4])
    assert source.picture.endswith("_clip.mp4") and not logged.text


@pytest.mark.parametrize(
    "url, shown, picture",
    [
        ("rtsp://u:p@cam:554/a/b", "rtsp://cam:554/a/b", "cam_554_a_b.mp4"),
        ("RTSP://u:p@ss@cam/1", "rtsp://cam/1", "cam_1.mp4"),
        ("http://cam/x.cgi?user=u&pwd=p#t", "http://cam/x.cgi?...", "cam_x.cgi.mp4"),
        ("https://cam", "https://cam", "cam.mp4"),
    ],
)
def test_what_may_be_secret_is_not_shown(url, shown, picture):
    [source] = find_inputs([url])
    assert (source.file_name, source.picture, source.url) == (shown, picture, url)
    assert str(source) == f"stream '{shown}'"


def test_streams_that_look_the_same_are_two():
    assert len(find_inputs(["http://cam/x?id=1", "http://cam/x?id=2", "http://cam/x?id=1"])) == 2
