"""The optional package timm."""

import warnings
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

# Detectron2's transformers take parts from where they were in older versions.
PARTS = "timm.models.layers"


def require_timm(name: str) -> ModuleType:
    """Import timm, and from it the module that Detectron2 would import with a warning.

    Args:
        name: what needs it, and the key that has it.

    Raises:
        ValueError: timm is not installed.
    """
    try:
        timm = import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ValueError(
            f"{name} needs the package timm, which is not installed. Run "
            "python -m pip install 'timm>=1.0.31' (the extra 'backbones' of this package)."
        ) from error
    if find_spec(PARTS) is None:
        return timm
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f"Importing from {PARTS}", FutureWarning)
        import_module(PARTS)
    return timm
