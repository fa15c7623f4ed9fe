"""What is predicted: images, videos, cameras and streams, and the frames of them."""

import logging
import os
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic
from typing import Dict, Iterable, Iterator, NamedTuple, Optional, Union

import cv2
import numpy as np

from ..config import MAX_PIXELS
from ..data import read_image
from ..image_kind import COLOUR, ImageKind
from .clock import MAX_PAUSE, Clock
from .streams import OPEN_SECONDS, LatestFrames, open_url

COUNTED_SUFFIXES = {".avi", ".m4v", ".mov", ".mp4"}  # these files say how many frames they have
MAX_MISSING = 0.1  # of the duration of other videos, which is that of the sound, too
DEFAULT_RATE = 25.0  # frames per second, of cameras that do not tell theirs
MAX_RATE = 240.0  # frames per second; what says more than that does not know

logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    """An image that was read from a file or a camera.

    Attributes:
        source: where it is from.
        number: of the frame within its video, from 1.
        pixels: (H, W, C), as :func:`scnet.data.read_image` gives them.
        time: when the frame is shown, in seconds after the first of its video.
    """

    source: Union["InputImage", "InputVideo"]
    number: int
    pixels: np.ndarray
    time: float = 0.0

    def __str__(self) -> str:
        if isinstance(self.source, InputImage):
            return f"Image '{self.source.file_name}'"
        return f"Frame {self.number} of '{self.source.file_name}'"


@dataclass
class InputImage:
    """An image file.

    Attributes:
        file_name: path of the image.
        picture: path of its picture within the output folder.
        dataset: name of the data set that the image belongs to; None if it belongs to none.
        record: Detectron2's dict of the image in that data set.
        max_pixels: INPUT.MAX_PIXELS of the model that it is for.
        kind: of the images that the model takes.
    """

    file_name: str
    picture: str
    dataset: Optional[str] = None
    record: Optional[Dict] = None
    max_pixels: int = MAX_PIXELS
    kind: ImageKind = COLOUR

    def count(self) -> int:
        """The number of frames, which is 1."""
        return 1

    def frames(self) -> Iterator[Frame]:
        """Read the image.

        Raises:
            FileNotFoundError, ValueError: see :func:`scnet.data.read_image`.
        """
        pixels = read_image(self.file_name, max_pixels=self.max_pixels, kind=self.kind)
        yield Frame(self, 1, pixels)


@dataclass
class InputVideo:
    """A video file or a camera.

    Attributes:
        file_name: path of the video; "0" for camera 0.
        picture: path of its annotated video within the output folder.
        camera: number of the camera; None for a file.
        rate: frames per second, known once frames are read.
        is_live: it has no end but that somebody stops it.
    """

    file_name: str
    picture: str
    camera: Optional[int] = None
    rate: float = DEFAULT_RATE

    @property
    def is_live(self) -> bool:
        return self.camera is not None

    def open(self) -> cv2.VideoCapture:
        """Open the video or the camera.

        Raises:
            ValueError: OpenCV cannot read the file, or there is no such camera.
        """
        if not is_utf8(self.file_name):
            raise ValueError(f"Cannot open {self}: its name is not in UTF-8. Rename it.")
        capture = cv2.VideoCapture(self.file_name if self.camera is None else self.camera)
        if not capture.isOpened():
            raise ValueError(f"Cannot open {self}.")
        return capture

    def count(self) -> Optional[int]:
        """The number of frames that the file says it has; None for a camera, or if unknown."""
        if self.camera is not None or not is_utf8(self.file_name):
            return None
        capture = cv2.VideoCapture(self.file_name)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        return count if count > 0 else None

    def frames(self) -> Iterator[Frame]:
        """Read the frames, one after the other.

        Raises:
            ValueError: see :meth:`open`; or the video has no frames or, after the last one that
                could be read, it should have had more. A camera always should.
        """
        yield from self._read(self.open())

    def _read(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        """Read the frames of an open video; see :meth:`frames`."""
        self.rate = rate_of(capture)
        said = capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        clock = Clock(self.rate, inf if self.is_live else MAX_PAUSE)
        number, end = 0, 0.0
        try:
            while True:
                there, pixels = capture.read()
                if not there:
                    break
                number += 1
                end = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield Frame(self, number, pixels, clock.time(monotonic() if self.is_live else end))
        finally:
            capture.release()
        if number == 0:
            raise ValueError(f"'{self.file_name}' gives no frames.")
        if self.camera is not None:
            raise ValueError(f"The {self} gives no more frames after {number}.")
        is_estimated = Path(self.file_name).suffix.lower() not in COUNTED_SUFFIXES
        if is_estimated and end >= (1 - MAX_MISSING) * (expected - 1) / said:
            expected = number
        if number < expected:
            raise ValueError(
                f"Only {number} of {expected} frames of '{self.file_name}' can be read. It is "
                "damaged or cut off."
            )

    def __str__(self) -> str:
        return f"{'video' if self.camera is None else 'camera'} '{self.file_name}'"


@dataclass
class InputStream(InputVideo):
    """A live stream of the network, or a video in it, which has an end.

    Attributes:
        file_name: the URL without what may be secret.
        url: the whole.
        is_live: it says no number of frames. Known once it is open.
    """

    url: str = ""
    is_live: bool = True

    def open(self) -> cv2.VideoCapture:
        """Open it.

        Raises:
            ValueError: it does not answer, or with nothing that OpenCV can read.
        """
        capture = open_url(self.url)
        if not capture.isOpened():
            raise ValueError(
                f"Cannot open {self}: within {OPEN_SECONDS} seconds there was no answer, or none "
                "that is a video. Look whether the address, the user and the password are right, "
                "and whether a player such as VLC shows it."
            )
        self.is_live = capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 0
        return capture

    def count(self) -> None:
        """Unknown before it is opened."""
        return None

    def frames(self) -> Iterator[Frame]:
        """Read the frames: all of a video, the newest one of a live stream.

        At the end of a live stream the log says how many frames were dropped.

        Raises:
            ValueError: see :meth:`open` and :meth:`InputVideo.frames`; or a live stream broke, and
                could not be opened again.
        """
        capture = self.open()
        if not self.is_live:
            yield from self._read(capture)
            return
        self.rate = rate_of(capture)
        clock, number, newest = Clock(self.rate, inf), 0, LatestFrames(capture, self.url)
        try:
            for time, pixels in newest:
                number += 1
                yield Frame(self, number, pixels, clock.time(time))
        finally:
            if newest.dropped or newest.reopened:
                logger.warning(
                    f"Of the {self}, {number} frames were used, {newest.dropped} came while others "
                    f"were predicted and were dropped. It was opened again {newest.reopened} times."
                )
        raise ValueError(f"The {self} broke after {number} frames, and could not be opened again.")

    def __str__(self) -> str:
        return f"stream '{self.file_name}'"


Input = Union[InputImage, InputVideo]


def rate_of(capture: cv2.VideoCapture) -> float:
    """The frames per second that a video says it has, or DEFAULT_RATE if that cannot be."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= MAX_RATE else DEFAULT_RATE


def is_utf8(path: str) -> bool:
    """Whether a path can be given to OpenCV, which crashes where it is not in UTF-8."""
    return os.fsencode(path).decode(errors="replace") == path


def frames_of(inputs: Iterable[Input]) -> Iterator[Frame]:
    """Read all frames of all inputs, each when it is needed."""
    for source in inputs:
        yield from source.frames()
