"""How the weights of a file fit a model: what is refused, and what the log says."""

from typing import Any, Dict, List, Mapping, Tuple

import torch
from fvcore.common.checkpoint import _IncompatibleKeys
from tabulate import tabulate
from torch import nn

from ..image_kind import COLOUR
from ..modeling import SCNet, class_metadata
from ..modeling.backbone.pixel_statistics import Pixels, require_pixels
from .reading import CONVERTER

PIXELS = ("pixel_mean", "pixel_std")
# In the "model" of a file, but no parameters of a network; older files have the last two.
NO_PARAMETERS = (class_metadata.KEY, *PIXELS)
COUNTER = ".num_batches_tracked"  # of batch norm; many files have none


def refuse_other_pixels(path: str, weights: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse weights that were trained on images which were normalised in another way.

    Args:
        path: of the file, for the message.
        weights: of the file; its "pixel_mean" and "pixel_std", if it has them, are (C, 1, 1) or
            (C,), in the order of its channels.
        model: has the same as buffers.

    Raises:
        ValueError: see :func:`require_pixels`.
    """
    if not any(name in weights for name in PIXELS) or not hasattr(model, PIXELS[0]):
        return
    given = {name: _values(getattr(model, name)) for name in PIXELS}
    known = {name: _values(weights.get(name, given[name])) for name in PIXELS}
    # The kind matters where a training begins. What was trained has that of its config.
    kind = getattr(model, "kind", COLOUR) if model.training else COLOUR
    name = f"The weights '{path}'"
    require_pixels(name, Pixels("", *known.values()), Pixels("", *given.values()), kind)


def _values(statistics: Any) -> Tuple[float, ...]:
    return tuple(torch.as_tensor(statistics).flatten().tolist())


def refuse_strange_weights(
    path: str, names: List[str], model: nn.Module, incompatible: _IncompatibleKeys
) -> None:
    """Refuse weights of which none fits, in training, too.

    Buffers do not count: PyTorch fills some of those that are missing.

    Args:
        path: of the file, for the message.
        names: in the file.
        model: that they were loaded into.
        incompatible: what was not loaded.

    Raises:
        ValueError: no parameter of the model is in the weights.
    """
    parameters = [name for name, _ in model.named_parameters()]
    if parameters and not set(parameters) - set(incompatible.missing_keys):
        raise ValueError(
            f"None of the {len(names)} tensors in '{path}' fits the model. They are called "
            f"{', '.join(names[:3])}, ..., and the parameters of the model "
            f"{', '.join(parameters[:3])}, .... Those of a backbone fit if the config has it "
            "(MODEL.BACKBONE.NAME); checkpoints of mmdet are converted first: "
            f"{CONVERTER} {path} CONVERTED.pth."
        )


def refuse_surplus_weights(path: str, model: nn.Module, incompatible: _IncompatibleKeys) -> None:
    """Refuse to predict with a part of a trained model, which is not what was trained.

    Raises:
        ValueError: the weights have parameters that the model has no place for.
    """
    names = list(model.state_dict())
    surplus = [
        name
        for name in incompatible.unexpected_keys
        if name not in NO_PARAMETERS and not name.endswith(COUNTER)
    ]
    if surplus:
        groups = group(surplus, surplus + names)
        raise ValueError(
            f"'{path}' has {len(surplus)} tensors that the model has no place for: "
            f"{', '.join(groups[:6])}{', ...' if len(groups) > 6 else ''}. They are those of a "
            "larger model, or parts of the model are switched off in the config. Use the "
            "config.yaml that the training saved beside the weights. If you mean to do without "
            "these weights, add MODEL.ALLOW_SURPLUS_WEIGHTS True."
        )


def refuse_partial_weights(model: nn.Module, incompatible: _IncompatibleKeys) -> None:
    """Refuse to predict with parameters at their initial values, which gives only noise.

    Raises:
        ValueError: the weights lack some.
    """
    if isinstance(model, SCNet):
        needed = model.parameters_of_predictions()
    else:
        needed = {name for name, _ in model.named_parameters()}
    missing = [name for name in incompatible.missing_keys if name in needed]
    if missing:
        raise ValueError(
            f"The weights lack {len(missing)} parameters of the model or have them in another "
            f"shape: {', '.join(missing[:6])}, .... They are those of another model or for "
            "another number of classes than MODEL.ROI_HEADS.NUM_CLASSES. Use the config.yaml "
            "that the training saved beside the weights."
        )


def describe(model: nn.Module, incompatible: _IncompatibleKeys) -> str:
    """Say what was loaded and what was not, part by part and module by module."""
    names = list(model.state_dict())
    not_loaded = set(incompatible.missing_keys)
    misshapen = {key for key, *_ in incompatible.incorrect_shapes}
    parts: Dict[str, List[int]] = {}
    for name, parameter in model.named_parameters():
        loaded, total = parts.setdefault(part_of(name), [0, 0])
        size = parameter.numel()
        parts[part_of(name)] = [loaded + size * (name not in not_loaded), total + size]
    rows = [(part, f"{loaded:,}", f"{total:,}") for part, (loaded, total) in parts.items()]
    loaded, total = (sum(column) for column in zip(*parts.values())) if parts else (0, 0)
    report = [f"{loaded:,} of {total:,} parameters were loaded."]
    headers = ("part", "loaded", "parameters")
    report.append(tabulate(rows, headers, colalign=("left", "right", "right")))
    absent = [
        name
        for name in incompatible.missing_keys
        if name not in misshapen and not name.endswith(COUNTER)
    ]
    if absent:
        groups = ", ".join(group(absent, names))
        report.append(f"Not in the weights, left at their initial values: {groups}")
    if misshapen:
        headers = ("left at its initial value", "shape in the weights", "in the model")
        report.append(tabulate(incompatible.incorrect_shapes, headers))
    unused = [name for name in incompatible.unexpected_keys if name not in PIXELS]
    if unused:
        groups = ", ".join(group(unused, unused + names))
        report.append(f"In the weights, but not in the model: {groups}")
    return "\n".join(report)


def part_of(name: str) -> str:
    """Name the part of a model that a parameter belongs to.

    It is a child of the model, such as "proposal_generator"; of "roi_heads" and "backbone" it is a
    child of these. The convolutions of a pyramid are one, "backbone.fpn".
    """
    first, *rest = name.split(".")
    if first not in ("backbone", "roi_heads") or len(rest) < 2:
        return first
    is_pyramid = first == "backbone" and rest[0].startswith(("fpn_", "simfp_"))
    return f"{first}.{'fpn' if is_pyramid else rest[0]}"


def group(chosen: List[str], names: List[str]) -> List[str]:
    """Write "a.b.*" where all names below "a.b" are among the chosen.

    Args:
        chosen: some of the names.
        names: of all parameters, parts separated by dots.
    """
    counts: Dict[str, int] = {}
    for sign, keys in ((1, names), (-1, chosen)):
        for key in keys:
            parts = key.split(".")
            for depth in range(1, len(parts)):
                prefix = ".".join(parts[:depth])
                counts[prefix] = counts.get(prefix, 0) + sign
    grouped: Dict[str, None] = {}  # a set in order
    for key in chosen:
        parts = key.split(".")
        prefixes = (".".join(parts[:depth]) for depth in range(1, len(parts)))
        whole = next((prefix for prefix in prefixes if counts[prefix] == 0), None)
        grouped[f"{whole}.*" if whole else key] = None
    return list(grouped)
