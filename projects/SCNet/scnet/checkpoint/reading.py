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

CONVERTER = "scnet convert"


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
            f"'{path}' is no pickle of arrays, or it is damaged "
            f"({' '.join(str(error).split())}). {TRUST}"
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
            f.seek(0)
            kind = "" if isinstance(error, tarfile.ReadError) else other_kind(f.read(64))
            reason = kind or (str(error) or "it ends too early").splitlines()[0]
            reason = reason.split(" In PyTorch 2.6")[0]  # advice to read it with what it may run
            raise ValueError(
                f"'{path}' is truncated, damaged, or no file of PyTorch ({reason}). {WAY_OUT}"
            ) from error


def read_safetensors(path: str) -> Dict[str, torch.Tensor]:
    """Read a file of safetensors.

    Raises:
        ValueError: the file is damaged, or the package safetensors is missing.
    """
    try:
        import safetensors.torch
    except ModuleNotFoundError as error:
        raise ValueError(
            f"'{path}' needs the package safetensors. Install it: pip install safetensors"
        ) from error
    with PathManager.open(path, "rb") as f:
        content = f.read()
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"'{path}' is no file of safetensors, or it is damaged ({error}). {WAY_OUT}"
        ) from error


def refuse_tar(f: BinaryIO) -> None:
    """Refuse the format of PyTorch before 0.1.10: PyTorch before 2.6 runs what is in such a file.

    Raises:
        tarfile.ReadError: it is one.
    """
    start = f.read(1)
    f.seek(0)
    if start != b"\0" and tarfile.is_tarfile(f):  # zeros alone are an archive of nothing
        raise tarfile.ReadError("it is of PyTorch before 0.1.10, which cannot be read safely")
    f.seek(0)


def check_named(content: Any, path: str) -> Dict[str, Any]:
    """Refuse what is not values by their names.

    Args:
        content: of a file, or a part of it.
        path: of the file, for the message.

    Raises:
        ValueError: it is no dict, or a name is no text.
    """
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"'{path}' holds a {kind}, not weights by their names.")
    for name in content:
        if not isinstance(name, str):
            raise ValueError(f"'{path}' has the name {name!r}, but names of weights are text.")
    return content


def check_weights(content: Any, path: str) -> None:
    """Refuse what is not tensors or arrays of numbers by their names, or has odd values.

    Args:
        content: the weights of a file.
        path: of the file, for the message.

    Raises:
        ValueError: it is something else, or there are no weights; see also :func:`check_named` and
            :func:`check_values`.
    """
    weights = check_named(content, path)
    if not weights:
        raise ValueError(f"'{path}' holds no weights: it has no names.")
    for name, value in weights.items():
        problem = _what_is_wrong(value)
        if problem:
            raise ValueError(
                f"'{path}' has as '{name}' {problem}. A file of weights is a dict of dense tensors "
                "by their names, or has one as 'model'."
            )
    check_values(weights, path)


def _what_is_wrong(value: Any) -> str:
    """Say what a weight is, if it is not numbers in memory; else ""."""
    if isinstance(value, torch.Tensor):
        if value.is_meta:
            return "a tensor without data"
        if value.is_quantized:
            return "a quantized tensor"
        return "" if value.layout == torch.strided else "a sparse tensor"
    if isinstance(value, np.ndarray):
        return "" if value.dtype.kind in "biufc" else f"an array of {value.dtype}"
    return f"a value of the type {type(value).__name__}"


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


def other_kind(start: bytes) -> str:
    """Say what lies in the place of weights; "" if it begins as a file of PyTorch does.

    Args:
        start: the first bytes of the file.
    """
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, whose file is fetched with 'git lfs pull'"
    if start.lstrip().startswith(b"<"):
        return "it is a web page, as a download gives that needs a login"
    return "" if start.startswith((b"PK", b"\x80")) else f"it begins with {start[:12]!r}"


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
