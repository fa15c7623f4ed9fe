"""What is predicted: image files, folders, patterns, data sets, video files and cameras."""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Union

import cv2
import numpy as np
from detectron2.data import DatasetCatalog

from ..data import read_image

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
DEFAULT_RATE = 25.0  # frames per second, of cameras that do not tell theirs


class Frame(NamedTuple):
    """An image that was read.

    Attributes:
        source: where it is from; None if it was given as an array.
        number: of the frame within its video, or of the array, from 1.
        pixels: (H, W, 3) uint8, BGR.
    """

    source: Optional[Union["InputImage", "InputVideo"]]
    number: int
    pixels: np.ndarray

    def __str__(self) -> str:
        if self.source is None:
            return f"Image number {self.number}"
        if isinstance(self.source, InputImage):
            return f"Image '{self.source.file_name}'"
        return f"Frame {self.number} of '{self.source.file_name}'"


@dataclass
class InputImage:
    """An image file.

    Attributes:
        file_name: path of the image.
        picture: path of its picture within the output folder.
        dataset: name of the data set that it is from, if it is from one.
        record: Detectron2's dict of the image in that data set.
    """

    file_name: str
    picture: str
    dataset: Optional[str] = None
    record: Optional[Dict] = None

    def count(self) -> int:
        """The number of frames."""
        return 1

    def frames(self) -> Iterator[Frame]:
        """The image.

        Raises:
            FileNotFoundError, ValueError: see :func:`scnet.data.read_image`.
        """
        yield Frame(self, 1, read_image(self.file_name))


@dataclass
class InputVideo:
    """A video file or a camera.

    Attributes:
        file_name: path of the video; "0" for camera 0.
        picture: path of its annotated video within the output folder.
        camera: number of the camera; None for a file.
        rate: frames per second, known once frames are read.
    """

    file_name: str
    picture: str
    camera: Optional[int] = None
    rate: float = DEFAULT_RATE

    def open(self) -> cv2.VideoCapture:
        """
        Raises:
            ValueError: it is no video that OpenCV can read, or there is no such camera.
        """
        capture = cv2.VideoCapture(self.file_name if self.camera is None else self.camera)
        if not capture.isOpened():
            what = "video" if self.camera is None else "camera"
            raise ValueError(f"Cannot open {what} '{self.file_name}'.")
        return capture

    def count(self) -> Optional[int]:
        """The number of frames, as the file says; None for a camera."""
        if self.camera is not None:
            return None
        capture = self.open()
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        return count if count > 0 else None

    def frames(self) -> Iterator[Frame]:
        """The frames, one after the other.

        Raises:
            ValueError: see :meth:`open`; or there are none.
        """
        capture = self.open()
        self.rate = capture.get(cv2.CAP_PROP_FPS) or DEFAULT_RATE
        number = 0
        try:
            while True:
                there, pixels = capture.read()
                if not there:
                    break
                number += 1
                yield Frame(self, number, pixels)
        finally:
            capture.release()
        if number == 0:
            raise ValueError(f"'{self.file_name}' gives no frames.")


Input = Union[InputImage, InputVideo]


def frames_of(inputs: Iterable[Input]) -> Iterator[Frame]:
    """All frames of all inputs, read when they are needed."""
    for source in inputs:
        yield from source.frames()


def find_inputs(sources: Iterable[str]) -> List[Input]:
    """What the sources name, each file once.

    Args:
        sources: image files; video files; folders, for the images in them and below; patterns
            such as "photos/*.jpg", in which ** stands for folders too; names of registered data
            sets; numbers of cameras.

    Raises:
        FileNotFoundError: a source is none of these, or has no images.
        ValueError: two would have the same picture.
    """
    inputs: Dict[str, Input] = {}
    for source in sources:
        inputs.update({x.file_name: x for x in _find(source)})
    first: Dict[str, str] = {}
    for x in inputs.values():
        if x.picture in first:
            raise ValueError(
                f"The pictures of '{first[x.picture]}' and '{x.file_name}' would both be "
                f"'{x.picture}'. Predict them into different folders."
            )
        first[x.picture] = x.file_name
    return list(inputs.values())


def find_images(sources: Iterable[str]) -> List[InputImage]:
    """:func:`find_inputs` without videos.

    Raises:
        ValueError: there is a video or a camera among them.
    """
    inputs = find_inputs(sources)
    for x in inputs:
        if isinstance(x, InputVideo):
            raise ValueError(f"'{x.file_name}' is a video or a camera; give images.")
    return inputs


def _find(source: str) -> List[Input]:
    """What one source names; see :func:`find_inputs`."""
    path = Path(source)
    if path.is_dir():
        files = (p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        found = [_file(p, path) for p in sorted(files)]
    elif path.is_file():
        found = [_file(path, path.parent)]
    elif source in DatasetCatalog:
        found = [
            InputImage(r["file_name"], Path(r["file_name"]).stem + ".png", source, r)
            for r in DatasetCatalog.get(source)
        ]
    elif source.isdecimal():
        found = [InputVideo(source, f"camera{source}.mp4", int(source))]
    elif glob.has_magic(source):
        fixed = next(k for k, part in enumerate(path.parts) if glob.has_magic(part))
        files = (Path(p) for p in glob.glob(source, recursive=True))
        known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
        files = sorted(p for p in files if p.suffix.lower() in known and p.is_file())
        found = [_file(p, Path(*path.parts[:fixed])) for p in files]
    else:
        raise FileNotFoundError(
            f"'{source}' is no image, folder or registered data set, no video and no camera."
        )
    if not found:
        raise FileNotFoundError(
            f"'{source}' holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})."
        )
    return found


def _file(path: Path, root: Path) -> Input:
    """A file, whose picture lies where the file lies within ``root``."""
    relative = path.relative_to(root)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return InputVideo(str(path), str(relative.with_suffix(".mp4")))
    return InputImage(str(path), str(relative.with_suffix(".png")))
