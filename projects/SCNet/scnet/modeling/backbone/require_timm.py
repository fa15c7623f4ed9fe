"""The optional package timm."""

import warnings
from importlib import import_module
from types import ModuleType

PARTS = "timm.models.layers"  # from where Detectron2's transformers take parts


def require_timm(name: str, module: str = PARTS) -> ModuleType:
    """Import a module of timm.

    Args:
        name: the MODEL.BACKBONE.NAME that needs it.

    Raises:
        ModuleNotFoundError: timm is not installed.
    """
    try:
        with warnings.catch_warnings():
            # The parts have moved, and timm warns those who take them from there.
            warnings.filterwarnings("ignore", f"Importing from {PARTS}", FutureWarning)
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ModuleNotFoundError(
            f"MODEL.BACKBONE.NAME '{name}' needs the package timm, which is not installed. Run "
            "python -m pip install 'timm>=1.0.31' (the extra 'backbones' of this package).",
            name="timm",
        ) from error
