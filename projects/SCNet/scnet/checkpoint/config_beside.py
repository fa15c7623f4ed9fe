"""The config that goes with weights, in the folder that they are in."""

from pathlib import Path

from .hub import CONFIG, PREFIX
from .weights_file import find_weights


def config_file_beside(weights: str) -> str:
    """The path of the "config.yaml" that a training left beside its weights.

    For weights of Hugging Face it is that of their repository; both are fetched.

    Raises:
        ValueError: there is none; or see :func:`find_weights`.
        OSError: see there.
    """
    if weights.startswith(PREFIX) or "://" not in weights:  # others have no folder
        path = Path(find_weights(weights)).parent / CONFIG
        if path.is_file():
            return str(path)
    raise ValueError(
        f"The weights '{weights}' need a config, and there is no config.yaml beside them. "
        "Give one, on the command line with --config."
    )
