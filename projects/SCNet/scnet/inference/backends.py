"""What runs a model for the predictor, by the ending of the weights file."""

from typing import Callable, Dict, List, Protocol

import numpy as np
from detectron2.structures import Instances

from ..exported_formats import ENDINGS
from .exported_backend import ExportedBackend
from .pytorch_backend import PyTorchBackend


class Backend(Protocol):
    """Runs a model on images.

    Attributes:
        names: of the classes.
        max_pixels: that an image file may have, INPUT.MAX_PIXELS.
        kind: of the images that the model takes; not there where it is colour of 8 bits.
        device: that PyTorch computes on; not there where PyTorch does not compute.
        with_context: see :meth:`Predictor.with_context`; not there where it cannot be given.
    """

    names: List[str]
    max_pixels: int

    def __call__(self, images: List[np.ndarray]) -> List[Instances]:
        """Find the objects.

        Args:
            images: (H, W, C) each, of the backend's kind; three channels are BGR.

        Returns:
            per image, Instances at the size of the image; masks are ``mask_probabilities``
            (R, M, M) within their boxes, see :mod:`scnet.inference.mask_formats`.

        Raises:
            ValueError: an image cannot be used.
        """


# By the ending of the weights file: makes a backend from weights, config (None if none is given)
# and the score below which detections need not be returned; trusted=True and device, if given.
# Other endings, and names such as "scnet://R_50_FPN_20e", are PyTorch's.
BACKENDS: Dict[str, Callable[..., Backend]] = {
    ".pth": PyTorchBackend,
    ".pkl": PyTorchBackend,
    **dict.fromkeys(ENDINGS.values(), ExportedBackend),
}
