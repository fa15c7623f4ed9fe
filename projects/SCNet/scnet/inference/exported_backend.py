"""The backend of the predictor for files of `scnet export`."""

from typing import List, Optional

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import Instances

from ..config import MAX_PIXELS
from ..data.image import in_order
from ..export.runtime import load_exported
from ..image_kind import COLOUR, ImageKind
from ..resizing import transform_image
from .mask_formats import resize
from .pytorch_backend import Config


class ExportedBackend:
    """Runs a TorchScript or ONNX file; see :class:`scnet.inference.backends.Backend`.

    It runs one image at a time. Its score threshold is that of the config it was exported with.
    """

    def __init__(
        self,
        weights: str,
        config: Config = None,
        threshold: float = 0.0,
        trusted: bool = False,
        device: Optional[str] = None,
    ):
        """Read a file.

        Args:
            weights: the file.
            config: must be None, as the file has all that a config would say.
            threshold: has no effect: the file returns what it was exported to return.
            trusted: see :func:`scnet.export.runtime.load_exported`.
            device: must be None: TorchScript runs on the CPU, and ONNX Runtime chooses.

        Raises:
            ValueError: a config or a device is given; or see
                :func:`scnet.export.runtime.load_exported`, as for the others.
            FileNotFoundError: there is no such file.
            ImportError: ONNX Runtime is needed and not installed.
        """
        if config is not None:
            raise ValueError(
                f"'{weights}' was exported with its config and takes no other. Leave out the "
                "config, or export the model again with that one."
            )
        if device is not None:
            raise ValueError(
                f"The device '{device}' cannot be chosen for the exported file '{weights}': "
                "TorchScript runs on the CPU, and ONNX where the installed ONNX Runtime can. Leave "
                "it out."
            )
        self.model = load_exported(weights, trusted)
        metadata = self.model.metadata
        self.names = metadata["class_names"]
        self.max_pixels = metadata.get("max_pixels", MAX_PIXELS)  # files of version 0.1 say none
        self.kind = ImageKind(*(metadata.get(x, getattr(COLOUR, x)) for x in COLOUR._fields))
        self.resize = ResizeShortestEdge(metadata["min_size_test"], metadata["max_size_test"])

    def __call__(self, images: List[np.ndarray]) -> List[Instances]:
        """Find the objects; see :class:`scnet.inference.backends.Backend`."""
        inputs = [self._prepare(pixels) for pixels in images]
        return [
            resize(self.model.detect(x), *pixels.shape[:2]) for x, pixels in zip(inputs, images)
        ]

    def _prepare(self, pixels: np.ndarray) -> torch.Tensor:
        """Make the file's input (C, h, w) from an image (H, W, C); three channels are BGR."""
        pixels = in_order(pixels, self.model.metadata["input_format"], given="BGR")
        pixels = transform_image([self.resize.get_transform(pixels)], pixels)
        return torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
