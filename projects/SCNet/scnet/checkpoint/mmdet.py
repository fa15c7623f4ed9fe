"""Weights of the reference implementation (OpenMMLab's mmdet), converted in both directions.

They are of SCNet, Hybrid Task Cascade or Cascade Mask R-CNN. A conversion is a renaming by a table
of modules, read in either direction.
"""

from typing import Dict, TypeGuard

from torch import Tensor

from ..modeling import class_metadata
from .mmdet_architecture import expected_shapes, find_architecture, find_family, raise_problems
from .mmdet_names import module_names
from .reading import check_values, read_torch

TRUST = "If you trust where it comes from, add --allow-pickle."

# Entries of a reference checkpoint that hold no weights of the network: the copies of the
# moving-average hook, which swaps the averages into the network's own names when it saves.
IGNORED_PREFIXES = ("ema_",)


def convert_mmdet_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Rename the parameters and buffers of a reference model to those of our model.

    The architecture and the numbers of classes are found from the weights. The conversion is
    strict: nothing of the source is left over but what :data:`IGNORED_PREFIXES` names, and
    nothing of our model is left unfilled but batch norm's counter of batches, which is not used
    and which older files lack.

    Args:
        state_dict: the reference's, for SCNet, HTC or Cascade Mask R-CNN, the latter two with or
            without semantic branch, with R-50, R-101 or X-101-64x4d.

    Raises:
        ValueError: tensors are missing, unknown or of another shape; the message names them.
    """
    state_dict = {k: v for k, v in state_dict.items() if not k.startswith(IGNORED_PREFIXES)}
    family = find_family(state_dict, 0)
    table = dict(module_names(family))
    unknown = [key for key in state_dict if key.rpartition(".")[0] not in table]
    converted = {_rename(k, table): v for k, v in state_dict.items() if k not in unknown}
    back = {ours: theirs for theirs, ours in table.items()}
    expected = expected_shapes(find_architecture(state_dict))
    problems = [f"'{key}' is no parameter of {family}" for key in unknown]
    for key in sorted(expected.keys() | converted.keys()):
        theirs = _rename(key, back)
        if key not in converted:
            if not key.endswith("num_batches_tracked"):
                problems.append(f"'{theirs}' (here '{key}') is missing")
        elif key not in expected:
            problems.append(f"'{theirs}' (here '{key}') has no place in this architecture")
        elif converted[key].shape != expected[key]:
            shape, wanted = tuple(converted[key].shape), tuple(expected[key])
            problems.append(f"'{theirs}' (here '{key}') has shape {shape}, not {wanted}")
    raise_problems(problems, f"These weights are not those of a reference {family}")
    return converted


def convert_mmdet_checkpoint(path: str, allow_pickle: bool = False) -> Dict[str, Dict]:
    """Read a checkpoint of OpenMMLab's mmdet 2.x or 3.x as the content of one of ours.

    The names of the classes come with it, if the file has one for each class.

    Args:
        path: a file with a ``state_dict`` and what not, or with the state dict itself.
        allow_pickle: also read files that hold more than tensors and plain values. Such a file
            can run any code while it is read: only for files that you trust.

    Raises:
        ValueError: the file needs ``allow_pickle``, it is damaged or holds no weights, they are
            not finite, or they do not fit, see :func:`convert_mmdet_state_dict`.
    """
    content = read_torch(path, allow_pickle, TRUST)
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else None
    if not _are_weights(state_dict):
        raise ValueError(f"'{path}' holds no 'state_dict' of tensors.")
    check_values(state_dict, path)
    state_dict = {key.removeprefix("module."): value for key, value in state_dict.items()}
    model = convert_mmdet_state_dict(state_dict)
    meta = content.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    names = meta.get("CLASSES") or meta.get("dataset_meta", {}).get("classes", ())
    num_classes = find_architecture(state_dict).things
    if len(names) == num_classes:
        model[class_metadata.KEY] = class_metadata.encode({"thing_classes": names})
    return {"model": model}


def convert_to_mmdet_checkpoint(path: str, allow_pickle: bool = False) -> Dict[str, Dict]:
    """Read a checkpoint of ours as the content of one of mmdet.

    Args:
        path: a file with a ``model``.
        allow_pickle: see :func:`convert_mmdet_checkpoint`.

    Raises:
        ValueError: the file needs ``allow_pickle``, it is damaged or holds no model, its weights
            are not finite, or see :func:`convert_to_mmdet_state_dict`.
    """
    content = read_torch(path, allow_pickle, TRUST)
    model = content.get("model") if isinstance(content, dict) else None
    if not _are_weights(model):
        raise ValueError(
            f"'{path}' holds no 'model' of tensors, so it is no checkpoint of Detectron2. From "
            "OpenMMLab's to Detectron2's it goes without --reverse."
        )
    check_values(model, path)
    names = model.pop(class_metadata.KEY, None)
    meta = {} if names is None else {"CLASSES": class_metadata.decode(names).thing_classes}
    return {"state_dict": convert_to_mmdet_state_dict(model), "meta": meta}


def _are_weights(state_dict: object) -> TypeGuard[Dict[str, Tensor]]:
    """Whether it is a dict of tensors with something in it."""
    return (
        isinstance(state_dict, dict)
        and len(state_dict) > 0
        and all(isinstance(value, Tensor) for value in state_dict.values())
    )


def convert_to_mmdet_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Rename the parameters of our model to those of the reference.

    The inverse of :func:`convert_mmdet_state_dict`.
    Naive sample consistency, which the reference lacks, has the weights of a Cascade Mask R-CNN
    and is taken for one.

    Raises:
        ValueError: a parameter has no counterpart in the reference; the message names it.
    """
    family = find_family(state_dict, 1)
    table = {ours: theirs for theirs, ours in module_names(family)}
    unknown = [key for key in state_dict if key.rpartition(".")[0] not in table]
    raise_problems(
        [f"'{key}'" for key in unknown],
        f"The reference {family} has no place for these parameters",
    )
    return {_rename(key, table): value for key, value in state_dict.items()}


def _rename(key: str, table: Dict[str, str]) -> str:
    """Replace the module in the name of a parameter."""
    module, _, parameter = key.rpartition(".")
    return f"{table[module]}.{parameter}"
