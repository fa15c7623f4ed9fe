"""From images to instances, in batches, with a model of any format.

A backend is what runs a model: a callable from a list of images, (H, W, 3) uint8 in BGR order, to
a list of Detectron2's Instances on the CPU, at the size of the image. It has ``names``, those of
the classes.
"""

from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.catalog import Metadata
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import Instances

from ..checkpoint import load_model
from ..config import read_cfg
from ..data import class_names
from ..data.own_data import register_datasets
from ..modeling.class_metadata import make_metadata
from ..modeling.meta_arch import SCNet
from ..modeling.test_time_augmentation import SCNetWithTTA
from .exported_backend import ExportedBackend
from .inputs import Frame, find_inputs, frames_of
from .optimize import optimize_as_configured

Backend = Callable[[List[np.ndarray]], List[Instances]]
Image = Union[str, Path, np.ndarray, Frame]


class PyTorchBackend:
    """A model of this package with a checkpoint."""

    def __init__(self, weights: str, cfg: Optional[CfgNode], threshold: float = 0.0):
        """
        Args:
            weights: as MODEL.WEIGHTS.
            cfg: of the model. With TEST.AUG.ENABLED it is augmented at test time.
            threshold: detections of a lower score need not be returned. What is left out early
                costs no mask.

        Raises:
            ValueError: there is no config, or the weights do not fit it; or see
                :func:`names_of_classes`.
            FileNotFoundError: there are no such weights.
        """
        if cfg is None:
            raise ValueError(
                f"The weights '{weights}' need a config, and there is no config.yaml beside them."
            )
        cfg = cfg.clone()
        cfg.defrost()
        register_datasets(cfg, must_exist=False)  # they may name the classes
        heads = cfg.MODEL.ROI_HEADS
        heads.SCORE_THRESH_TEST = max(heads.SCORE_THRESH_TEST, threshold)
        model = load_model(cfg, weights)
        self.names = names_of_classes(model, cfg)
        model = optimize_as_configured(model, cfg)
        self.divisor = max(model.backbone.size_divisibility, 1)
        self.input_format = cfg.INPUT.FORMAT
        augmented = cfg.TEST.AUG.ENABLED  # by the model, from the image as it is
        size = 0 if augmented else cfg.INPUT.MIN_SIZE_TEST
        self.resize = ResizeShortestEdge(size, cfg.INPUT.MAX_SIZE_TEST)
        self.model = SCNetWithTTA(cfg, model) if augmented else model

    def __call__(self, images: List[np.ndarray]) -> List[Instances]:
        """See the head of the module.

        An image is in one batch with those that are padded to the same size only. With others it
        would be padded more than alone, and the global context is an average over the padding,
        too.

        Raises:
            ValueError: an image is too narrow to be resized.
        """
        inputs = [self._prepare(x) for x in images]
        groups: Dict[Tuple[int, int], List[int]] = defaultdict(list)
        for k, x in enumerate(inputs):
            height, width = (-(-side // self.divisor) for side in x["image"].shape[1:])
            groups[height, width].append(k)
        results: List[Optional[Instances]] = [None] * len(inputs)
        with torch.no_grad():
            for members in groups.values():
                outputs = self.model([inputs[k] for k in members])
                for k, output in zip(members, outputs):
                    results[k] = output["instances"].to("cpu")
        return results

    def _prepare(self, pixels: np.ndarray) -> Dict:
        """The input of the model."""
        height, width = pixels.shape[:2]
        if self.input_format == "RGB":
            pixels = pixels[:, :, ::-1]
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        image = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {"image": image, "height": height, "width": width}


# By the ending of the weights file: from weights, config (None if there is none) and threshold to
# a backend. Other endings, and names such as "scnet://R_50_FPN_20e", are PyTorch's.
BACKENDS: Dict[str, Callable[[str, Optional[CfgNode], float], Backend]] = {
    ".pth": PyTorchBackend,
    ".pkl": PyTorchBackend,
    ".ts": ExportedBackend,
    ".onnx": ExportedBackend,
}


class Predictor:
    """Finds objects in images, videos and what a camera sees.

        predictor = Predictor("output/mine/model_final.pth", threshold=0.5)
        instances = predictor("photo.jpg")
        for instances in predictor.stream("folder/of/images"):
            ...

    Attributes:
        backend: what runs the model.
        metadata: ``thing_classes``, the names of the classes, for Detectron2's Visualizer.
    """

    def __init__(
        self,
        weights: str,
        config: Union[None, str, Path, CfgNode] = None,
        *,
        threshold: float = 0.0,
        classes: Optional[Sequence[str]] = None,
        batch_size: int = 1,
        array_format: str = "BGR",
    ):
        """
        Args:
            weights: a file, whose ending tells the backend (see BACKENDS), or a name such as
                "scnet://R_50_FPN_20e".
            config: a config or its file. By default "config.yaml" beside the weights, where the
                training leaves it.
            threshold: what has a higher score is returned. MODEL.ROI_HEADS.SCORE_THRESH_TEST of the
                config holds, too.
            classes: names of those that are returned; by default all.
            batch_size: images that are read and predicted at a time. It does not change what is
                found, see :meth:`PyTorchBackend.__call__`.
            array_format: order of the channels of images that are given as arrays, "BGR" or
                "RGB".

        Raises:
            ValueError: an argument cannot be used; the message says why.
            FileNotFoundError: the weights or the config do not exist.
        """
        if batch_size < 1:
            raise ValueError(f"The batch size must be 1 or more, not {batch_size}.")
        if array_format not in ("BGR", "RGB"):
            raise ValueError(f"array_format must be 'BGR' or 'RGB', not '{array_format}'.")
        backend = BACKENDS.get(Path(weights).suffix.lower(), PyTorchBackend)
        self.backend = backend(weights, find_cfg(weights, config), threshold)
        self.metadata: Metadata = make_metadata({"thing_classes": self.backend.names})
        self.threshold = threshold
        self.classes = None if classes is None else self._numbers(classes)
        self.batch_size = batch_size
        self.array_format = array_format

    @property
    def names(self) -> List[str]:
        """The names of the classes."""
        return self.metadata.thing_classes

    def __call__(self, image: Image) -> Instances:
        """Find the objects in one image; arguments and errors as for :meth:`stream`."""
        found = list(islice(self.stream([image]), 2))
        if len(found) != 1:
            raise ValueError(f"'{image}' is more than one image. Use Predictor.stream.")
        return found[0]

    def stream(self, images: Union[int, Image, Iterable[Image]]) -> Iterator[Instances]:
        """Find the objects in any number of images, read when they are needed.

        Args:
            images: files, or arrays (H, W, 3) uint8; or one source or several of
                :func:`find_inputs`: a folder, a pattern, a video, the number of a camera.

        Yields:
            per image or frame, in order, Instances on the CPU: ``pred_boxes`` in pixels of the
            image, ``scores``, ``pred_classes`` (indices into ``names``) and, if the model
            predicts masks, ``pred_masks`` (R, H, W).

        Raises:
            FileNotFoundError, ValueError: an image cannot be used; the message names it.
        """
        frames = self._frames(images)
        while batch := list(islice(frames, self.batch_size)):
            try:
                found = self.backend([frame.pixels for frame in batch])
            except ValueError as error:
                which = " or ".join(f"{f} of height and width {f.pixels.shape[:2]}" for f in batch)
                raise ValueError(f"{which} cannot be used: {error}.") from error
            yield from map(self._select, found)

    def _frames(self, images: Union[int, Image, Iterable[Image]]) -> Iterator[Frame]:
        single = isinstance(images, np.ndarray) and images.ndim == 3
        if single or isinstance(images, (str, Path, int, Frame)):
            images = [images]
        for number, image in enumerate(images, 1):
            if isinstance(image, Frame):
                yield image
            elif isinstance(image, np.ndarray):
                yield Frame(None, number, self._bgr(image, number))
            else:
                yield from frames_of(find_inputs([str(image)]))

    def _bgr(self, image: np.ndarray, number: int) -> np.ndarray:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                f"Image number {number} is an array of shape {image.shape} and type "
                f"{image.dtype}; height x width x 3 and uint8 are needed."
            )
        return image if self.array_format == "BGR" else image[:, :, ::-1]

    def _numbers(self, classes: Sequence[str]) -> torch.Tensor:
        """Indices of classes by their names."""
        unknown = [name for name in classes if name not in self.names]
        if unknown:
            raise ValueError(
                f"The model does not know {', '.join(map(repr, unknown))}. It knows: "
                f"{', '.join(self.names)}."
            )
        return torch.tensor([self.names.index(name) for name in classes], dtype=torch.int64)

    def _select(self, instances: Instances) -> Instances:
        """Those of the asked score and classes."""
        keep = instances.scores > self.threshold
        if self.classes is not None:
            keep &= torch.isin(instances.pred_classes, self.classes)
        return instances[keep]


def names_of_classes(model: SCNet, cfg: CfgNode) -> List[str]:
    """The names that came with the weights; if none did, those of the first of DATASETS.TEST.

    Raises:
        ValueError: see :func:`scnet.data.class_names`.
    """
    return model.metadata.get("thing_classes") or class_names(cfg)


def find_cfg(weights: str, config: Union[None, str, Path, CfgNode] = None) -> Optional[CfgNode]:
    """A config from what :class:`Predictor` takes; None if there is none."""
    if isinstance(config, CfgNode):
        return config
    if config is None:
        config = Path(weights).parent / "config.yaml"
        if not config.is_file():
            return None
    return read_cfg(config)
