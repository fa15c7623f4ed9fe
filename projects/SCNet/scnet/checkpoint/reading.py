"""Reading files of weights without running code that they may carry, and noticing damage."""

import pickle
import re
import tarfile
import zipfile
from typing import Any, BinaryIO, Dict

import numpy as np
import torch
from detectron2.utils.file_io import PathManager

from .array_pickle import load_arrays

TRUST = "If you trust where it comes from, add MODEL.TRUST_WEIGHTS True."
WAY_OUT = (
    "Copy it again from where it came. To go on with a training, write the name of an earlier "
    "checkpoint of its directory into the file last_checkpoint."
)

# No weight and no statistic of a trained network comes near it.
LARGEST = 1e10


def read_pickle(path: str, trusted: bool = False) -> Any:
    """Read a pickle of NumPy arrays, such as those of Detectron2's model zoo.

    Args:
        path: of the file.
        trusted: let it hold, and so run, anything.

    Raises:
        ValueError: the file is damaged, or holds more than arrays and is not trusted.
    """
    with PathManager.open(path, "rb") as f:
        content = f.read()
    try:
        return pickle.loads(content, encoding="latin1") if trusted else load_arrays(content)
    except Exception as error:  # of any kind, for a damaged pickle
        raise ValueError(
            f"'{path}' is no pickle of arrays, or it is damaged ({error}). {TRUST}"
        ) from error


def read_torch(path: str, trusted: bool = False, trust: str = TRUST) -> Any:
    """Read a file of ``torch.save``; tensors are on the CPU.

    Args:
        path: of the file.
        trusted: let it hold, and so run, anything.
        trust: the sentence that says how to trust a file.

    Raises:
        ValueError: the file is damaged, or holds more than tensors and plain values and is not
            trusted.
    """
    with PathManager.open(path, "rb") as f:
        try:
            check_sums(f)
            if not trusted:
                refuse_tar(f)
            return torch.load(f, map_location="cpu", weights_only=not trusted)
        except Exception as error:  # of any kind, for a damaged file
            more = re.search(r"GLOBAL (\S+)", str(error))  # how PyTorch names what it refuses
            if more and not trusted:
                raise ValueError(
                    f"'{path}' holds more than tensors and plain values ({more[1]}), and may run "
                    f"any code while it is read. {trust}"
                ) from error
            reason = (str(error) or "it ends too early").splitlines()[0]
            raise ValueError(
                f"'{path}' is truncated, damaged, or no file of PyTorch ({reason}). {WAY_OUT}"
            ) from error


def refuse_tar(f: BinaryIO) -> None:
    """Refuse the format of PyTorch before 0.1.10: PyTorch before 2.6 runs what is in such a file.

    Raises:
        tarfile.ReadError: it is one.
    """
    if tarfile.is_tarfile(f):
        raise tarfile.ReadError("it is of PyTorch before 0.1.10, which cannot be read safely")
    f.seek(0)


def check_values(state_dict: Dict[str, Any], path: str) -> None:
    """Refuse weights that no training ends with.

    Bits that have changed in an exponent, or a training that has failed, give such values. A
    network with one of them finds nothing, or something else.

    Args:
        state_dict: tensors or arrays by their names; others are not looked at.
        path: of the file, for the message.

    Raises:
        ValueError: weights are not finite, or larger than :data:`LARGEST`.
    """
    largest = {name: _largest(value) for name, value in state_dict.items()}
    broken = {name: value for name, value in largest.items() if not value <= LARGEST}
    if broken:
        examples = ", ".join(f"'{name}' ({value:.3g})" for name, value in list(broken.items())[:5])
        raise ValueError(
            f"'{path}' has values that weights cannot have, in {len(broken)} of {len(largest)} "
            f"tensors: {examples}. The file is damaged, or its training has failed. {WAY_OUT}"
        )


def _largest(value: Any) -> float:
    """The largest absolute value; NaN if there is one; 0 for what are no real numbers."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        value = value.detach().float().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return 0.0
    return float(np.abs(value).max(initial=0))


def check_sums(f: BinaryIO) -> None:
    """Compare the checksums of PyTorch's zip format, which PyTorch itself does not look at.

    Raises:
        zipfile.BadZipFile: a checksum is wrong: bits have changed.
    """
    if zipfile.is_zipfile(f):
        damaged = zipfile.ZipFile(f).testzip()
        if damaged:
            raise zipfile.BadZipFile(f"wrong checksum of '{damaged}'")
    f.seek(0)
