"""The config that goes with weights, in the folder that they are in."""

from pathlib import Path
from typing import Optional

from detectron2.utils.file_io import PathManager

from .hub import CONFIG, PREFIX


def config_file_beside(weights: str) -> Optional[str]:
    """The path of the "config.yaml" that a training left beside its weights; None without one.

    For weights of Hugging Face it is that of their repository; both are fetched.

    Raises:
        OSError, ValueError: see :func:`scnet.checkpoint.hub.fetch`.
    """
    local = PathManager.get_local_path(weights) if weights.startswith(PREFIX) else weights
    path = Path(local).parent / CONFIG
    return str(path) if path.is_file() else None
