"""Writing what was predicted: pictures, videos and label maps."""

import os
from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import List, Optional, Sequence

import cv2
import numpy as np
from detectron2.structures import Instances

from ..data.masks import decode_in_box
from ..visualization import draw_detections, write_rgb
from ..whole_files import naming, place_beside, write_png
from .inputs import Frame, Input, InputImage, InputVideo, is_utf8
from .mask_formats import to_rle


class Writer(AbstractContextManager):
    """Writes what was found in frames. As a context manager it closes itself."""

    @abstractmethod
    def paths(self, inputs: Sequence[Input]) -> List[str]:
        """The files that will be written for some inputs; of the frames of a video, the first."""

    def check(self, inputs: Sequence[Input]) -> None:
        """Make sure, before the first frame, that all inputs can be written.

        Raises:
            ValueError: one cannot; the message says why.
        """

    @abstractmethod
    def write(self, frame: Frame, instances: Instances) -> None:
        """Write, or keep for later, what was found in the next frame.

        Args:
            frame: of :func:`scnet.inference.inputs.frames_of`, in its order.
            instances: with ``scores`` and, if the model predicts masks, ``pred_masks``: (R, H, W)
                bool, or RLE, which take less memory.
        """

    def close(self) -> None:
        """Finish what was begun."""

    def __exit__(self, *error) -> None:
        self.close()


class Pictures(Writer):
    """Writes a picture per image and a video per video, with the instances drawn in."""

    def __init__(self, folder: str, names: List[str]):
        """Write nothing yet.

        Args:
            folder: gets the pictures.
            names: of the classes.
        """
        self.folder, self.names = folder, names
        self.video: Optional[Video] = None
        self.source: Optional[InputVideo] = None  # what the video is of

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [os.path.join(self.folder, x.picture) for x in inputs]

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write the picture, or the next frame of the video.

        Raises:
            OSError: the picture or video cannot be written.
        """
        source = frame.source
        [path] = self.paths([source])
        drawn = draw_detections(frame.pixels, instances, self.names)
        if isinstance(source, InputImage):
            write_rgb(path, drawn)
            return
        if self.video is None or source is not self.source:
            self.close()
            self.video = Video(path, source.rate, drawn.shape[:2])
            self.source = source
        self.video.write(drawn)

    def close(self) -> None:
        """Finish the video that was begun.

        Raises:
            OSError: see :meth:`Video.close`.
        """
        video, self.video, self.source = self.video, None, None
        if video is not None:
            video.close()


class Video:
    """Writes an MPEG-4 video, which has its name when it is closed."""

    def __init__(self, path: str, rate: float, size: Sequence[int]):
        """Begin the video; its folder is made.

        Args:
            path: of the file.
            rate: frames per second.
            size: height and width.

        Raises:
            OSError: it cannot be written.
        """
        self.path, self.count = path, 0
        if not is_utf8(path):
            raise OSError(f"Could not write '{path}': its name is not in UTF-8.")
        with naming(path):
            self.beside = place_beside(path)
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self.writer = cv2.VideoWriter(self.beside, codec, rate, (size[1], size[0]))
        if not self.writer.isOpened():
            raise OSError(f"Could not write '{path}'.")

    def write(self, picture: np.ndarray) -> None:
        """Add a frame (H, W, 3) uint8, RGB."""
        self.writer.write(np.ascontiguousarray(picture[:, :, ::-1]))
        self.count += 1

    def close(self) -> None:
        """Finish the video.

        Raises:
            OSError: not all frames are in it. OpenCV does not say so itself.
        """
        self.writer.release()
        written = cv2.VideoCapture(self.beside)
        count = int(written.get(cv2.CAP_PROP_FRAME_COUNT))
        written.release()
        with naming(self.path):
            if count > 0:
                os.replace(self.beside, self.path)
            else:
                os.unlink(self.beside)
        if count < self.count:
            raise OSError(
                f"Could not write '{self.path}': {max(count, 0)} of {self.count} frames are in it. "
                "Is the disk full?"
            )


class LabelMaps(Writer):
    """Writes a PNG per image, as large as the image: 0 is no object, k that with the k-th score.

    The pixels have 8 bits, or 16 if there are more than 255 objects. Where masks overlap, the
    object with the higher score is seen. The frames of "clip.mp4" are "clip/000001.png" and so on.
    """

    def __init__(self, folder: str):
        self.folder = folder

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [self._path(x, 1) for x in inputs]

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write the map.

        Raises:
            ValueError: the model predicts no masks.
            OSError: the map cannot be written.
        """
        write_png(self._path(frame.source, frame.number), label_map(instances))

    def _path(self, source: Input, number: int) -> str:
        """The file for a frame of an input."""
        name = source.picture
        if isinstance(source, InputVideo):
            name = os.path.join(os.path.splitext(name)[0], f"{number:06d}.png")
        return os.path.join(self.folder, name)


def label_map(instances: Instances) -> np.ndarray:
    """Draw the objects as in :class:`LabelMaps`: (H, W) uint8 or uint16.

    Raises:
        ValueError: the instances have no masks.
    """
    if not instances.has("pred_masks"):
        raise ValueError("The model predicts no masks (MODEL.MASK_ON False).")
    labels = np.zeros(instances.image_size, np.uint8 if len(instances) < 256 else np.uint16)
    for label, k in reversed(list(enumerate(by_score(instances), 1))):
        bitmap, (x, y) = decode_in_box(to_rle(instances.pred_masks[k]))
        labels[y : y + bitmap.shape[0], x : x + bitmap.shape[1]][bitmap.astype(bool)] = label
    return labels


def by_score(instances: Instances) -> List[int]:
    """The numbers of the instances, by falling score."""
    return instances.scores.argsort(descending=True, stable=True).tolist()
