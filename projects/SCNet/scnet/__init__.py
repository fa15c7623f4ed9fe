"""SCNet for Detectron2: instance segmentation with sample consistency (AAAI 2021).

Importing this package registers its models and data sets with Detectron2.
"""

import sys
import warnings
from importlib.util import find_spec

# Before Detectron2, which imports it, too; but where both are missing, Detectron2 is named.
if find_spec("detectron2"):
    try:
        import cv2
    except ImportError as error:  # there is none, or it needs a library of the system
        raise ImportError(
            "scnet needs OpenCV, which cannot be imported in this Python "
            f"({sys.executable}): {error}. Run python -m pip uninstall opencv-python "
            "opencv-python-headless, then python -m pip install opencv-python-headless, or "
            "opencv-python if OpenCV is to open windows.",
            name="cv2",
        ) from error

# Detectron2 and fvcore compile losses with TorchScript when they are imported, and PyTorch warns
# everyone who imports them that TorchScript is deprecated.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
    try:
        import detectron2.modeling
    except ModuleNotFoundError as error:
        if error.name not in ("detectron2", "torch"):
            raise
        raise ModuleNotFoundError(
            f"scnet needs {error.name}, which is not in this Python ({sys.executable}): run 'make "
            "env' in the clone of the repository, or install it with python -m pip install torch "
            "torchvision && python -m pip install --no-build-isolation "
            "'git+https://github.com/facebookresearch/detectron2.git'; in a running notebook, "
            "restart the kernel afterwards.",
            name=error.name,
        ) from error

from .checkpoint import convert_mmdet_state_dict, convert_to_mmdet_state_dict
from .config import add_scnet_config, get_cfg, get_config_file
from .data import SCNetDatasetMapper, register_coco_json
from .data.config_from_data import configure_for_datasets
from .inference import Predictor
from .inference.optimize import optimize_for_inference
from .modeling import SCNet, SCNetROIHeads

__version__ = "0.1.0"

__all__ = [
    "Predictor",
    "SCNet",
    "SCNetDatasetMapper",
    "SCNetROIHeads",
    "add_scnet_config",
    "configure_for_datasets",
    "convert_mmdet_state_dict",
    "convert_to_mmdet_state_dict",
    "get_cfg",
    "get_config_file",
    "optimize_for_inference",
    "register_coco_json",
]
