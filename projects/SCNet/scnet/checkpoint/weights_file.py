"""The file that a name of weights stands for."""

import os

from detectron2.utils.file_io import PathManager

from ..exported_formats import is_exported


def find_weights(name: str) -> str:
    """Find a file of weights; one of the web is fetched, if it was not yet.

    Args:
        name: as MODEL.WEIGHTS.

    Returns:
        its path.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be fetched, or is a folder.
        ValueError: it is an exported model, or no name of weights.
    """
    if is_exported(name):
        raise ValueError(
            f"'{name}' is an exported model, which scnet predict and Predictor run as it is. "
            "Here give the weights (.pth) that it was made of."
        )
    if os.path.isdir(name):
        raise IsADirectoryError(f"Weights '{name}' are a folder. Give a file, such as its .pth.")
    local: str = name
    if "://" in name:
        try:
            local = PathManager.get_local_path(name.split("?")[0])
        except OSError as error:
            if f"'{name}'" in str(error):  # it has its sentence
                raise
            raise OSError(
                f"Cannot fetch the weights '{name}': {error}. Fetch them by hand, and give the "
                "file."
            ) from error
        except RuntimeError as error:  # Detectron2 of a catalog:// that it does not know
            raise ValueError(f"There are no weights '{name}': {error}.") from error
    if not os.path.isfile(local):
        raise FileNotFoundError(f"Weights '{name}' do not exist.")
    return local
