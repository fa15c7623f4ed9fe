"""Writing videos: H.264, which browsers play, with PyAV; else MPEG-4, which OpenCV writes."""

import logging
import os
from abc import ABC, abstractmethod
from fractions import Fraction
from importlib.util import find_spec
from typing import Optional, Sequence

import cv2
import numpy as np

from ..whole_files import naming, place_beside, remove_if_there
from .inputs import is_utf8

TICKS = 90000  # per second, in which H.264 says when a picture is shown
# x264 is faster so than by default. Without B-frames the last picture, too, has its time: the
# container counts the duration to the last one that was written.
H264_OPTIONS = {"preset": "veryfast", "bf": "0"}
MP4_OPTIONS = {"movflags": "faststart"}  # a browser begins to play before it has the whole file

logger = logging.getLogger(__name__)


class Video(ABC):
    """A video that is being written, and has its name when it is closed.

    Attributes:
        path: of the file.
        size: height and width of its pictures, which are even numbers, as codecs want.
        count: the pictures that are in it.
        failed: one could not be written.
    """

    def __init__(self, path: str, size: Sequence[int]):
        """Begin the video; its folder is made.

        Args:
            path: of the file.
            size: height and width. Where one is odd, the last row or column comes twice.

        Raises:
            OSError: it cannot be written.
        """
        self.path, self.count, self.failed = path, 0, False
        self.size = [side + side % 2 for side in size]
        if not is_utf8(path):
            raise OSError(f"Could not write '{path}': its name is not in UTF-8.")
        with naming(path):
            self.beside = place_beside(path)
            self.begin()

    def write(self, picture: np.ndarray, time: float) -> None:
        """Add a picture.

        Args:
            picture: (H, W, 3) uint8, RGB. One of another size than the first is scaled, and the
                log says so.
            time: when it is shown, in seconds after the first.

        Raises:
            OSError: it cannot be written.
        """
        if [side + side % 2 for side in picture.shape[:2]] != self.size:
            logger.warning(
                f"Pictures of '{self.path}' have another size than the first of "
                f"{self.size[1]} × {self.size[0]} pixels, to which they are scaled."
            )
            picture = cv2.resize(picture, self.size[::-1])
        bottom, right = (side - given for side, given in zip(self.size, picture.shape))
        picture = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        try:
            with naming(self.path):
                self.add(picture, time)
        except OSError:
            self.failed = True
            raise

    def close(self) -> None:
        """Finish the video; what is not a video is removed.

        Raises:
            OSError: not all pictures are in it. OpenCV does not say so itself.
        """
        try:
            with naming(self.path):
                self.finish()
        except OSError:
            remove_if_there(self.beside)
            raise
        written = cv2.VideoCapture(self.beside)
        count = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
        written.release()
        with naming(self.path):
            if count > 0:
                os.replace(self.beside, self.path)
            else:
                remove_if_there(self.beside)
        if count < self.count:
            raise OSError(
                f"Could not write '{self.path}': {max(count, 0)} of {self.count} frames are in it. "
                "Is the disk full?"
            )

    @abstractmethod
    def begin(self) -> None:
        """Open the file at ``beside``; an OSError says that it cannot be written."""

    @abstractmethod
    def add(self, picture: np.ndarray, time: float) -> None:
        """Add a picture (H, W, 3) of the size of the video, and count it."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is left, and close the file."""


class H264Video(Video):
    """A video in H.264, written by PyAV: each picture is shown when its time comes."""

    def __init__(self, path: str, rate: float, size: Sequence[int]):
        """Begin the video; see :class:`Video`.

        Args:
            rate: pictures per second, which the player is told. Their times are exact.
        """
        self.rate, self.ticks = Fraction(rate).limit_denominator(TICKS), -1
        super().__init__(path, size)

    def begin(self) -> None:
        import av

        self.container = av.open(self.beside, "w", format="mp4", options=MP4_OPTIONS)
        self.stream = self.container.add_stream("libx264", rate=self.rate, options=H264_OPTIONS)
        self.stream.height, self.stream.width = self.size
        self.stream.pix_fmt = "yuv420p"  # all that browsers play
        self.stream.codec_context.time_base = Fraction(1, TICKS)

    def add(self, picture: np.ndarray, time: float) -> None:
        from av import VideoFrame

        self.ticks = max(self.ticks + 1, round(time * TICKS))  # they must rise
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self.ticks, Fraction(1, TICKS)
        self.container.mux(self.stream.encode(frame))
        self.count += 1

    def finish(self) -> None:
        if not self.failed:  # FFmpeg would crash where the head of the file could not be written
            self.container.mux(self.stream.encode(None))
        self.container.close()


class Mpeg4Video(Video):
    """A video in MPEG-4 Part 2, written by OpenCV at a constant rate.

    A picture is repeated until the time of the next one. If pictures come faster than the rate, all
    of them are in the video, and are shown later.
    """

    def __init__(self, path: str, rate: float, size: Sequence[int]):
        """Begin the video; see :class:`Video`.

        Args:
            rate: pictures per second.
        """
        self.rate = rate
        self.last: Optional[np.ndarray] = None
        super().__init__(path, size)

    def begin(self) -> None:
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self.writer = cv2.VideoWriter(self.beside, codec, self.rate, self.size[::-1])
        if not self.writer.isOpened():
            raise OSError("OpenCV cannot begin it")

    def add(self, picture: np.ndarray, time: float) -> None:
        missing = round(time * self.rate) - self.count
        shown = np.ascontiguousarray(picture[:, :, ::-1])
        if self.last is not None:
            for _ in range(missing):
                self._append(self.last)
        self._append(shown)
        self.last = shown

    def _append(self, picture: np.ndarray) -> None:
        self.writer.write(picture)
        self.count += 1

    def finish(self) -> None:
        self.writer.release()


def open_video(path: str, rate: float, size: Sequence[int]) -> Video:
    """Begin a video, which browsers play if PyAV is installed; if not, the log says so.

    Args:
        path, rate, size: see :class:`H264Video`.

    Raises:
        OSError: it cannot be written.
    """
    if find_spec("av") is not None:
        return H264Video(path, rate, size)
    video = Mpeg4Video(path, rate, size)
    logger.warning(
        f"'{path}' is in MPEG-4 Part 2, which browsers do not play. With the package av it is in "
        "H.264, which they play: pip install 'av>=15.0' (the extra 'video' of this package)."
    )
    return video
