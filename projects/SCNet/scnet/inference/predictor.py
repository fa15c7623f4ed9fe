"""From images to instances, in batches, with a model of any format."""

from itertools import islice
from pathlib import Path
from typing import (
    Any,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

import numpy as np
import PIL.Image
import torch
from detectron2.data.catalog import Metadata
from detectron2.structures import Instances

from ..data import convert_image
from ..data.image import in_order
from ..image_kind import COLOUR, ImageKind
from ..modeling.class_metadata import make_metadata
from .backends import BACKENDS, Backend
from .context import Context
from .find_inputs import find_inputs
from .forked import note_threads
from .inputs import Frame, frames_of
from .mask_formats import FORMATS, paste
from .pytorch_backend import Config, PyTorchBackend
from .tiles import Tiles, predict_tiles


class Array(NamedTuple):
    """An image that was given as an array or as one of Pillow.

    Attributes:
        number: its place among the images that were given, from 1.
        pixels: (H, W, C), as :func:`scnet.data.read_image` gives them.
    """

    number: int
    pixels: np.ndarray

    def __str__(self) -> str:
        return f"Image number {self.number}"


Image = Union[str, Path, np.ndarray, PIL.Image.Image, Frame]
T = TypeVar("T")
Images = Union[int, Image, Iterable[Image]]
SINGLE = (str, Frame, PIL.Image.Image, torch.Tensor)  # can be iterated over, but are one image


class Predictor:
    """Finds objects in images, videos and what a camera sees.

        predictor = Predictor("output/mine/model_final.pth", threshold=0.5)
        instances = predictor("photo.jpg")
        for instances in predictor.stream("folder/of/images"):
            ...

    Attributes:
        backend: what runs the model.
        kind: of the images that it takes.
        metadata: ``thing_classes``, the names of the classes, for Detectron2's Visualizer.
        thresholds: (K,), what has a higher score than that of its class is returned.
    """

    def __init__(
        self,
        weights: str,
        config: Config = None,
        *,
        threshold: float = 0.0,
        classes: Optional[Sequence[str]] = None,
        batch_size: int = 1,
        array_format: str = "BGR",
        masks: str = "bitmap",
        tiles: Optional[Tiles] = None,
        class_thresholds: Optional[Mapping[str, float]] = None,
        trusted: bool = False,
        device: Optional[str] = None,
    ):
        """Read a model.

        Args:
            weights: a file, whose ending tells the backend (see BACKENDS), or a name such as
                "scnet://R_50_FPN_20e" or "hf://owner/name".
            config: a config or its file. By default "config.yaml" beside the weights, where the
                training leaves it, or in their repository of Hugging Face. Exported files have
                their own.
            threshold: what has a higher score is returned. MODEL.ROI_HEADS.SCORE_THRESH_TEST of the
                config holds, too.
            classes: names of those that are returned; by default all.
            batch_size: images that are read and predicted at a time. It does not change what is
                found, see :meth:`PyTorchBackend.__call__`.
            array_format: order of the channels of images that are given as arrays, "BGR" or
                "RGB".
            masks: "bitmap", or "rle" for COCO's run lengths. Bitmaps take a byte for each object
                and pixel of the image; RLE are made without ever having more than one of them.
            tiles: cuts images that are larger, see :func:`predict_tiles`; it needs masks="rle". The
                batch size is then the number of tiles.
            class_thresholds: by name, what takes the place of ``threshold`` for some classes.
            trusted: also read weights that may run any code, and TorchScript that was exported
                elsewhere (MODEL.TRUST_WEIGHTS).
            device: "cpu" or "cuda", for example. By default that of a config that is given as such,
                else a GPU if there is one: a file of a config does not decide it.

        Raises:
            ValueError: an argument cannot be used; the message says why.
            FileNotFoundError: the weights or the config do not exist.
            OSError: they cannot be fetched.
        """
        if batch_size < 1:
            raise ValueError(f"The batch size must be 1 or more, not {batch_size}.")
        if array_format not in ("BGR", "RGB"):
            raise ValueError(f"array_format must be 'BGR' or 'RGB', not '{array_format}'.")
        if masks not in FORMATS:
            raise ValueError(f"masks must be 'bitmap' or 'rle', not '{masks}'.")
        if tiles is not None:
            tiles.check()
            if masks != "rle":
                raise ValueError("Tiles are for large images, and need masks='rle'.")
        lowest = min([threshold, *(class_thresholds or {}).values()])
        make_backend = BACKENDS.get(Path(weights).suffix.lower(), PyTorchBackend)
        # A backend of one's own need not know of what is not given.
        given = {"trusted": trusted or None, "device": device}
        more = {name: value for name, value in given.items() if value is not None}
        self.backend: Backend = make_backend(weights, config, lowest, **more)
        self.kind: ImageKind = getattr(self.backend, "kind", COLOUR)
        self.metadata: Metadata = make_metadata({"thing_classes": self.backend.names})
        self.thresholds = self.class_wise(threshold, class_thresholds)
        self.classes = None if classes is None else self._numbers(classes)
        self.batch_size = batch_size
        self.array_format = array_format
        self.masks = masks
        self.tiles = tiles

    @property
    def names(self) -> List[str]:
        """The names of the classes."""
        return self.metadata.thing_classes

    def class_wise(
        self, threshold: float, of_classes: Optional[Mapping[str, float]]
    ) -> torch.Tensor:
        """The threshold of each class, (K,), where some have their own.

        Raises:
            ValueError: the model does not know a class.
        """
        thresholds = torch.full((len(self.names),), float(threshold))
        for name, own in (of_classes or {}).items():
            thresholds[self._numbers([name])] = own
        return thresholds

    def __call__(self, image: Image) -> Instances:
        """Find the objects in one image; arguments and errors as for :meth:`stream`."""
        found = list(islice(self.stream([image]), 2))
        if len(found) != 1:
            raise ValueError(f"'{image}' is more than one image. Use Predictor.stream.")
        return found[0]

    def stream(self, images: Images) -> Iterator[Instances]:
        """Find the objects in any number of images, read when they are needed.

        Args:
            images: files; arrays (H, W, 3) uint8, or (H, W) in shades of gray, or for a model of
                other images (H, W, INPUT.CHANNELS) of the type INPUT.DTYPE; images of Pillow, which
                are turned as their EXIF tag says, like files; or one source or several of
                :func:`find_inputs`: a folder, a pattern, a video, the number of a camera.

        Yields:
            per image or frame, in order, Instances on the CPU: ``pred_boxes`` in pixels of the
            image, ``scores``, ``pred_classes`` (indices into ``names``) and, if the model
            predicts masks, ``pred_masks``: (R, H, W) bool, or a list of RLE, see ``masks``.

        Raises:
            FileNotFoundError, ValueError: an image cannot be used; the message names it.
            RuntimeError: this process was forked, and would wait for threads for ever.
        """
        for batch in batches(self._frames(images), self.batch_size):
            note_threads()
            try:
                found = self._find([frame.pixels for frame in batch])
            except ValueError as error:
                raise unusable(batch, error) from error
            yield from found

    def with_context(self, image: Image) -> Tuple[Instances, Context]:
        """Find the objects in one image, with what the model says about it as a whole.

        Args:
            image: as for :meth:`__call__`, with its errors.

        Returns:
            the Instances of :meth:`__call__`, and the context. Exported files and models with
            TEST.AUG.ENABLED give none.

        Raises:
            ValueError: there are tiles, of which each would have a context of its own.
        """
        if self.tiles is not None:
            raise ValueError("Tiles have no context of the whole image. Leave them out.")
        if not hasattr(self.backend, "with_context"):
            return self(image), Context()
        frames = list(islice(self._frames([image]), 2))
        if len(frames) != 1:
            raise ValueError(f"'{image}' is more than one image. Give one.")
        note_threads()
        try:
            found, context = self.backend.with_context(frames[0].pixels)
        except ValueError as error:
            raise unusable(frames, error) from error
        return paste(self._select(found), self.masks), context

    def _find(self, images: List[np.ndarray]) -> Iterator[Instances]:
        """Find the objects in images (H, W, 3); masks are made when each is taken."""
        if self.tiles is not None:
            found = [predict_tiles(self._whole, x, self.tiles, self.batch_size) for x in images]
            return iter(found)
        return self._whole(images)

    def _whole(self, images: List[np.ndarray]) -> Iterator[Instances]:
        """Find the objects in images, each as a whole."""
        found = self.backend(images)
        return (paste(self._select(instances), self.masks) for instances in found)

    def _frames(self, images: Images) -> Iterator[Union[Array, Frame]]:
        """Read what is given, one image or frame after the other."""
        several = isinstance(images, Iterable) and not isinstance(images, SINGLE)
        if isinstance(images, np.ndarray):
            several = images.ndim > 3
        items: Iterable[Any] = images if several else [images]  # type: ignore[assignment]
        for number, image in enumerate(items, 1):
            if isinstance(image, Frame):
                yield image
            elif isinstance(image, (str, Path, int)):
                limit = self.backend.max_pixels
                yield from frames_of(find_inputs([str(image)], limit, self.kind))
            else:
                yield Array(number, self._arrange(image, number))

    def _arrange(self, image: Any, number: int) -> np.ndarray:
        """Make an image (H, W, C), three channels as BGR, of what was given.

        Raises:
            ValueError: it is no image.
        """
        name = f"Image number {number}"
        if isinstance(image, PIL.Image.Image):
            try:
                return convert_image(image, "BGR", self.backend.max_pixels, self.kind)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from error
        if image is None:
            raise ValueError(
                f"{name} is None, which cv2.imread returns for a file that it cannot read."
            )
        if not isinstance(image, np.ndarray):
            shape = f" of shape {tuple(image.shape)}" if isinstance(image, torch.Tensor) else ""
            raise ValueError(
                f"{name} is a {type(image).__module__}.{type(image).__name__}{shape}. Give the "
                "name of a file, an image of Pillow, or a NumPy array (height, width, channels)."
            )
        try:
            pixels = self.kind.arrange(image)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
        return in_order(pixels, "BGR", given=self.array_format)

    def _numbers(self, classes: Sequence[str]) -> torch.Tensor:
        """Find the indices of classes by their names.

        Raises:
            ValueError: the model does not know a class.
        """
        unknown = [name for name in classes if name not in self.names]
        if unknown:
            raise ValueError(
                f"The model does not know {', '.join(map(repr, unknown))}. It knows: "
                f"{', '.join(self.names)}."
            )
        return torch.tensor([self.names.index(name) for name in classes], dtype=torch.int64)

    def _select(self, instances: Instances) -> Instances:
        """Keep the instances whose score and class are wanted."""
        if self.classes is not None:
            classes = self.classes.to(instances.pred_classes.device)
            instances = instances[torch.isin(instances.pred_classes, classes)]
        return above(instances, self.thresholds)


def unusable(frames: Sequence[Union[Array, Frame]], error: ValueError) -> ValueError:
    """The error of a backend, with the images that it may be about."""
    which = " or ".join(f"{f} of height and width {f.pixels.shape[:2]}" for f in frames)
    return ValueError(f"{which} cannot be used: {error}.")


def batches(items: Iterator[T], size: int) -> Iterator[List[T]]:
    """Group items; an error while they are read comes after those that were read before it."""
    error: Optional[Exception] = None
    while error is None:
        batch: List[T] = []
        try:
            for item in islice(items, size):
                batch.append(item)
        except (OSError, ValueError) as caught:
            error = caught
        if batch:
            yield batch
        elif error is None:
            return
    raise error


def above(instances: Instances, thresholds: Union[float, torch.Tensor]) -> Instances:
    """Choose the instances of a higher score; if that is all, nothing is copied.

    Args:
        thresholds: one for all, or (K,) for the classes.
    """
    if isinstance(thresholds, torch.Tensor):
        thresholds = thresholds.to(instances.scores.device)[instances.pred_classes]
    keep = instances.scores > thresholds
    return instances if keep.all() else instances[keep]
