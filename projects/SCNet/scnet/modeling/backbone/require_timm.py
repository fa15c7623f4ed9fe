"""The optional package timm."""

from importlib import import_module
from types import ModuleType


def require_timm(name: str) -> ModuleType:
    """Import timm, from which Detectron2's transformers take parts, too.

    Args:
        name: the MODEL.BACKBONE.NAME that needs it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ModuleNotFoundError(
            f"MODEL.BACKBONE.NAME '{name}' needs the package timm, which is not installed. Run "
            "python -m pip install 'timm>=1.0.31' (the extra 'backbones' of this package).",
            name="timm",
        ) from error
