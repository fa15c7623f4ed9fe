"""Writing what was predicted: pictures, videos and label maps."""

import os
from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import List, Optional, Sequence

import numpy as np
from detectron2.structures import Instances

from ..data.masks import decode_in_box
from ..visualization import draw_detections, write_rgb
from ..whole_files import write_png
from .inputs import Frame, Input, InputImage, InputVideo
from .mask_formats import to_rle
from .video_files import Video, open_video

LARGEST_NUMBER = 2**16 - 1  # of an object in a label map: a PNG has 16 bits at most


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
                bool, or RLE, which take less memory; with ``track_ids`` where they are tracked.
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
            self.video = open_video(path, source.rate, drawn.shape[:2])
            self.source = source
        self.video.write(drawn, frame.time)

    def close(self) -> None:
        """Finish the video that was begun.

        Raises:
            OSError: see :meth:`Video.close`.
        """
        video, self.video, self.source = self.video, None, None
        if video is not None:
            video.close()


class LabelMaps(Writer):
    """Writes a PNG per image, as large as the image: 0 is no object, k that with the k-th score.

    The pixels have 8 bits, or 16 if there are more than 255 objects. Of a video whose objects are
    tracked they have 16 bits, and k is the object with this number; objects without a number are
    left out. Where masks overlap, the object with the higher score is seen. The frames of
    "clip.mp4" are "clip/000001.png" and so on.
    """

    def __init__(self, folder: str):
        self.folder = folder

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [self._path(x, 1) for x in inputs]

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write the map.

        Raises:
            ValueError: see :func:`label_map`.
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
        ValueError: the instances have no masks, or their numbers do not fit into 16 bits.
    """
    if not instances.has("pred_masks"):
        raise ValueError("The model predicts no masks (MODEL.MASK_ON False).")
    order, tracked = by_score(instances), instances.has("track_ids")
    numbers = instances.track_ids[order].tolist() if tracked else range(1, len(order) + 1)
    largest = max(numbers, default=0)
    if largest > LARGEST_NUMBER:
        raise ValueError(
            f"A label map has 16 bits, which are too few for object number {largest}. Write "
            "--json in place of --masks."
        )
    labels = np.zeros(instances.image_size, np.uint16 if tracked or largest > 255 else np.uint8)
    for k, number in reversed(list(zip(order, numbers))):
        if number == 0:  # not tracked yet
            continue
        bitmap, (x, y) = decode_in_box(to_rle(instances.pred_masks[k]))
        labels[y : y + bitmap.shape[0], x : x + bitmap.shape[1]][bitmap.astype(bool)] = number
    return labels


def by_score(instances: Instances) -> List[int]:
    """The numbers of the instances, by falling score."""
    return instances.scores.argsort(descending=True, stable=True).tolist()
