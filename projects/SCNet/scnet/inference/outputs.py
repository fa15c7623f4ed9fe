"""Writing what was predicted: pictures and videos, label maps, results in COCO format."""

import json
import os
from abc import abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Union

import cv2
import numpy as np
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances

from ..visualization import draw_detections, write_rgb
from .inputs import Frame, Input, InputImage, InputVideo
from .mask_formats import to_bitmap, to_rle


class Writer(AbstractContextManager):
    """Writes what was found in frames. As a context manager it closes itself."""

    @abstractmethod
    def paths(self, inputs: Sequence[Input]) -> List[str]:
        """The files and folders that will be written for some inputs."""

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
    """Writes a picture per image and a video per video, with the instances drawn in.

    In pictures each instance has its own colour, in videos each class.
    """

    def __init__(self, folder: str, names: List[str]):
        """Write nothing yet.

        Args:
            folder: gets the pictures.
            names: of the classes.
        """
        self.folder, self.names = folder, names
        self.video: Optional[cv2.VideoWriter] = None
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
        is_video = isinstance(source, InputVideo)
        drawn = draw_detections(frame.pixels, instances, self.names, color_by_class=is_video)
        if isinstance(source, InputImage):
            write_rgb(path, drawn)
            return
        if self.video is None or source is not self.source:
            self.close()
            self.video = open_video(path, source.rate, drawn.shape[:2])
            self.source = source
        self.video.write(np.ascontiguousarray(drawn[:, :, ::-1]))

    def close(self) -> None:
        if self.video is not None:
            self.video.release()
        self.video = self.source = None


def open_video(path: str, rate: float, size: Sequence[int]) -> cv2.VideoWriter:
    """Begin an MPEG-4 video; its folder is made.

    Args:
        rate: frames per second.
        size: height and width.

    Raises:
        OSError: it cannot be written.
    """
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), rate, (size[1], size[0]))
    if not video.isOpened():
        raise OSError(f"Could not write '{path}'.")
    return video


class LabelMaps(Writer):
    """Writes a PNG per image, as large as the image: 0 is no object, k that with the k-th score.

    The pixels have 8 bits, or 16 if there are more than 255 objects. Where masks overlap, the
    object with the higher score is seen. The frames of "clip.mp4" are "clip/000001.png" and so on.
    """

    def __init__(self, folder: str):
        self.folder = folder

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [
            os.path.join(self.folder, x.picture if isinstance(x, InputImage) else _stem(x))
            for x in inputs
        ]

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write the map.

        Raises:
            ValueError: the model predicts no masks.
            OSError: the map cannot be written.
        """
        [path] = self.paths([frame.source])
        if isinstance(frame.source, InputVideo):
            path = os.path.join(path, f"{frame.number:06d}.png")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if not cv2.imwrite(path, label_map(instances)):
            raise OSError(f"Could not write '{path}'.")


def _stem(source: InputVideo) -> str:
    """The folder for the frames of a video, within the output folder."""
    return os.path.splitext(source.picture)[0]


def label_map(instances: Instances) -> np.ndarray:
    """Draw the objects as in :class:`LabelMaps`: (H, W) uint8 or uint16.

    Raises:
        ValueError: the instances have no masks.
    """
    if not instances.has("pred_masks"):
        raise ValueError("The model predicts no masks (MODEL.MASK_ON False).")
    labels = np.zeros(instances.image_size, np.uint8 if len(instances) < 256 else np.uint16)
    for label, k in reversed(list(enumerate(by_score(instances), 1))):
        labels[to_bitmap(instances.pred_masks[k])] = label
    return labels


def by_score(instances: Instances) -> List[int]:
    """The numbers of the instances, by falling score."""
    return instances.scores.argsort(descending=True, stable=True).tolist()


class CocoResults(Writer):
    """Writes a json file of results in COCO format.

    :func:`scnet.inference.load_results` reads it for pycocotools. Each object has ``image_id``,
    ``category_id``, ``bbox`` (x, y, width, height), ``score``, ``segmentation`` (RLE) if the model
    predicts masks, and beside that ``file_name``, ``category_name`` and, in a video, ``frame``. The
    objects of an image come by falling score.
    """

    def __init__(self, path: str, names: List[str], annotations: Optional[str] = None):
        """Read the ids; nothing is written yet.

        Args:
            path: of the file, which is written by :meth:`close`.
            names: of the classes.
            annotations: a COCO json with the images, found by their file names, and the
                categories, found by their names: the ids are taken from it. Without it images
                are numbered from 1 in their order, categories from 1 in that of ``names``.

        Raises:
            ValueError: a class is no category of the json.
        """
        self.path, self.names, self.annotations = path, names, annotations
        self.results: List[Dict] = []
        self.count = 0
        self.category_ids = list(range(1, len(names) + 1))
        if annotations:
            with open(annotations, encoding="utf-8") as f:
                content = json.load(f)
            self.image_ids = {Path(x["file_name"]).parts: x["id"] for x in content["images"]}
            ids = {x["name"]: x["id"] for x in content["categories"]}
            unknown = [name for name in names if name not in ids]
            if unknown:
                raise ValueError(f"'{annotations}' has no category '{unknown[0]}'.")
            self.category_ids = [ids[name] for name in names]

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [self.path]

    def write(self, frame: Frame, instances: Instances) -> None:
        """Keep what was found in the next frame.

        Raises:
            ValueError: the image is not in the json.
        """
        self.count += 1
        image_id = self._image_id(frame) if self.annotations else self.count
        fields = dict(instances.get_fields())
        masks = fields.pop("pred_masks", None)  # bitmaps would be copied when they are sorted
        found = instances_to_coco_json(Instances(instances.image_size, **fields), image_id)
        for k in by_score(instances):
            x = found[k]
            if masks is not None:
                x["segmentation"] = to_rle(masks[k])
            index = x["category_id"]
            x["category_id"] = self.category_ids[index]
            x["category_name"] = self.names[index]
            x["file_name"] = frame.source.file_name
            if isinstance(frame.source, InputVideo):
                x["frame"] = frame.number
            self.results.append(x)

    def _image_id(self, frame: Frame) -> Union[int, str]:
        """Find the image by the longest end of its path that is a file name of the json.

        Raises:
            ValueError: there is none.
        """
        parts = Path(frame.source.file_name).parts
        for k in range(len(parts)):
            if parts[k:] in self.image_ids:
                return self.image_ids[parts[k:]]
        raise ValueError(f"'{self.annotations}' has no image '{frame.source.file_name}'.")

    def __exit__(self, *error) -> None:
        if error[0] is None:  # what is incomplete is not written
            self.close()

    def close(self) -> None:
        """Write the file."""
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        with open(self.path, "w", encoding="utf-8") as f:
            json.dump(self.results, f)
