"""Reading files of weights without running code that they may carry, and noticing damage."""

import pickle
import zipfile
from typing import Any, BinaryIO

import torch
from detectron2.utils.file_io import PathManager

TRUST = "If you trust where it comes from, add MODEL.TRUST_WEIGHTS True."
WAY_OUT = (
    "Copy it again from where it came. To go on with a training, write the name of an earlier "
    "checkpoint of its directory into the file last_checkpoint."
)

# What a pickle of NumPy arrays, such as those of Detectron2's model zoo, is made of.
ARRAY_PARTS = {
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays and plain values, and nothing else."""

    def find_class(self, module: str, name: str):
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it wants '{module}.{name}'")
        return super().find_class(module, name)


def read_pickle(path: str, trusted: bool = False) -> Any:
    """The content of a pickle of NumPy arrays.

    Args:
        path: of the file.
        trusted: let it hold, and so run, anything.

    Raises:
        ValueError: the file is damaged, or holds more than arrays and is not trusted.
    """
    unpickler = pickle.Unpickler if trusted else _ArrayUnpickler
    with PathManager.open(path, "rb") as f:
        try:
            return unpickler(f, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError) as error:
            raise ValueError(
                f"'{path}' is no pickle of arrays, or it is damaged ({error}). {TRUST}"
            ) from error


def read_torch(path: str, trusted: bool = False) -> Any:
    """The content of a file of ``torch.save``, on the CPU.

    Args:
        path: of the file.
        trusted: let it hold, and so run, anything.

    Raises:
        ValueError: the file is damaged, or holds more than tensors and plain values and is not
            trusted.
    """
    with PathManager.open(path, "rb") as f:
        is_zip = zipfile.is_zipfile(f)
        if is_zip:
            _check_sums(path, f)
        f.seek(0)
        try:
            return torch.load(f, map_location="cpu", weights_only=not trusted)
        except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            if is_zip and isinstance(error, pickle.UnpicklingError) and not trusted:
                raise ValueError(
                    f"'{path}' holds more than tensors and plain values, and may run any code "
                    f"while it is read ({reason}). {TRUST}"
                ) from error
            raise ValueError(
                f"'{path}' is truncated, or no file of PyTorch ({reason}). {WAY_OUT}"
            ) from error


def _check_sums(path: str, f: BinaryIO) -> None:
    """PyTorch reads a file with flipped bits without a word; its zip format has checksums."""
    try:
        damaged = zipfile.ZipFile(f).testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged:
        raise ValueError(f"'{path}' is damaged (at {damaged}). {WAY_OUT}")
