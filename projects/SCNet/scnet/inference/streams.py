"""Streams of the network: read in a thread, so that the newest frame is there, and opened again."""

import logging
import re
from threading import Condition, Event, Thread
from time import monotonic
from typing import Iterator, Optional, Tuple
from urllib.parse import urlsplit

import cv2
import numpy as np

SCHEMES = {"http", "https", "rtmp", "rtsp", "rtsps"}
OPEN_SECONDS = 10  # that a stream has to answer
READ_SECONDS = 10  # that it has to send the next frame
# Seconds before a stream that broke is opened again, and after each time that this fails. After
# the last it is given up.
WAITS = (1, 2, 4, 8, 16, 32, 64, 128)

logger = logging.getLogger(__name__)


def is_url(source: str) -> bool:
    """Whether a source is the URL of a stream, or of a video in the network."""
    return source.partition("://")[0].lower() in SCHEMES and "://" in source


def shown_url(url: str) -> str:
    """A URL without what may be secret: user and password, and all that follows a "?" or "#"."""
    parts = urlsplit(url)
    hidden = "?..." if parts.query or parts.fragment else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{hidden}"


def name_of_url(url: str) -> str:
    """A name for files about a stream, of its host, port and path."""
    parts = urlsplit(url)
    return re.sub(r"[^\w.-]+", "_", parts.netloc.rpartition("@")[2] + parts.path).strip("._")


def open_url(url: str) -> cv2.VideoCapture:
    """Open a stream, or a video in the network; nothing is raised if that fails.

    Only OpenCV's FFmpeg does it: others print the URL, with its password.
    """
    options = (
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_SECONDS * 1000),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_SECONDS * 1000),
    )
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, options)


class LatestFrames:
    """The frames of a live stream, of which those are dropped that nobody takes in time.

    Attributes:
        dropped: the number of frames that were read and not taken.
        reopened: how often the stream broke, and was opened again.
        broken: it broke, and could not be opened again.
    """

    def __init__(self, capture: cv2.VideoCapture, url: str):
        """Begin nothing yet.

        Args:
            capture: the stream, which is open.
            url: opens it again.
        """
        self.capture, self.url, self.name = capture, url, shown_url(url)
        self.dropped = self.reopened = 0
        self.broken = False
        self.changed, self.stopped = Condition(), Event()
        self.latest: Optional[Tuple[float, np.ndarray]] = None

    def __iter__(self) -> Iterator[Tuple[float, np.ndarray]]:
        """The frames, each with the time when it came, in seconds of the monotonic clock."""
        thread = Thread(target=self._read, name=f"reads {self.name}", daemon=True)
        thread.start()
        try:
            while True:
                with self.changed:
                    while self.latest is None and not self.broken:
                        self.changed.wait(1)  # Ctrl-C does not end a longer wait on Windows
                    if self.latest is None:
                        return
                    taken, self.latest = self.latest, None
                yield taken
        finally:
            self.stopped.set()
            thread.join()  # at most until the times to open and to read are over

    def _read(self) -> None:
        """Read until the stream is stopped or given up."""
        failures = 0
        while not self.stopped.is_set():
            there, pixels = self.capture.read()
            if there:
                if failures:
                    self.reopened += 1
                    logger.warning(f"The stream '{self.name}' is there again.")
                failures = 0
                self._offer(pixels)
                continue
            self.capture.release()
            if failures == len(WAITS):
                break
            if not failures:
                logger.warning(
                    f"The stream '{self.name}' broke. It is opened again in {WAITS[0]} s, and if "
                    f"that fails up to {len(WAITS) - 1} times more within {sum(WAITS) // 60} min."
                )
            self.stopped.wait(WAITS[failures])
            failures += 1
            if not self.stopped.is_set():
                self.capture = open_url(self.url)
        self.capture.release()
        with self.changed:
            self.broken = True
            self.changed.notify()

    def _offer(self, pixels: np.ndarray) -> None:
        """Let a frame be the one that is taken next."""
        with self.changed:
            self.dropped += self.latest is not None
            self.latest = monotonic(), pixels
            self.changed.notify()
