"""The backend of :class:`Predictor` for files of tools/export.py."""

from typing import List, Optional

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import Instances

from ..export.runtime import load_exported


class ExportedBackend:
    """A TorchScript or ONNX file, which has all that a config would say.

    It runs one image at a time. Its score threshold is that of the config it was exported with.
    """

    def __init__(self, weights: str, cfg: Optional[CfgNode] = None, threshold: float = 0.0):
        """
        Args:
            weights: the file.
            cfg, threshold: have no effect.

        Raises:
            FileNotFoundError, ValueError, ImportError: see
                :func:`scnet.export.runtime.load_exported`.
        """
        self.model = load_exported(weights)
        metadata = self.model.metadata
        self.names = metadata["class_names"]
        self.resize = ResizeShortestEdge(metadata["min_size_test"], metadata["max_size_test"])

    def __call__(self, images: List[np.ndarray]) -> List[Instances]:
        """See :mod:`scnet.inference.predictor`."""
        inputs = [self._prepare(pixels) for pixels in images]
        return self.model(inputs, [pixels.shape[:2] for pixels in images])

    def _prepare(self, pixels: np.ndarray) -> torch.Tensor:
        """(H, W, 3) BGR -> (3, h, w) as the file wants it."""
        if self.model.metadata["input_format"] == "RGB":
            pixels = pixels[:, :, ::-1]
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        return torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
