"""What a model says about an image as a whole, beside its objects."""

from typing import NamedTuple, Optional

import numpy as np


class Context(NamedTuple):
    """What a model says about an image as a whole; None is what it does not say.

    Attributes:
        semantic_map: (h, w), the number of the semantic class of each pixel, at the size that the
            network sees (INPUT.MIN_SIZE_TEST). It needs MODEL.SCNET.SEMANTIC.OUTPUT.
        image_scores: (K,), how sure the model is that the image has objects of each class. It needs
            MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT.
    """

    semantic_map: Optional[np.ndarray] = None
    image_scores: Optional[np.ndarray] = None
