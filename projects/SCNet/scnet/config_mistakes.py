"""What is wrong with a config, in one sentence that names the key and says what to do."""

import re
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Iterator, List, Optional, Sequence

import torch
import yaml
from detectron2.config import CfgNode

# What Detectron2, fvcore, yacs and YAML raise for files and values that are none of a config.
MISTAKES = (
    AssertionError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
    yaml.YAMLError,
)


def merge_opts(cfg: CfgNode, opts: Sequence[Any]) -> None:
    """Take the values of KEY VALUE pairs, as they come from a command line.

    Args:
        cfg: is changed.
        opts: keys and values in turn.

    Raises:
        ValueError: a key has no value or does not exist, or a value has another type than the
            key's.
    """
    if len(opts) % 2:
        raise ValueError(
            f"The options '{' '.join(map(str, opts))}' are an odd number of words, so a key is "
            "without its value. Write KEY VALUE pairs, with a space between the two, after all "
            "arguments that begin with '--'."
        )
    for key, value in zip(opts[::2], opts[1::2]):
        with explained(cfg, f"The option '{key} {value}' cannot be used"):
            if isinstance(value_of(cfg, key), CfgNode):
                raise ValueError(f"'{key}' is a group of keys. Set one of them, '{key}.KEY'")
            if key not in known_keys(cfg):
                raise KeyError(f"Non-existent key: {key}")  # yacs trips over SOLVER.BASE_LR.X
            cfg.merge_from_list([key, value])


@contextmanager
def explained(cfg: CfgNode, sentence: str) -> Iterator[None]:
    """Within it, a mistake that is found while values are taken is an error with a sentence.

    Args:
        cfg: that has the known keys.
        sentence: the first half; what is wrong follows after a colon.

    Raises:
        ValueError: there was a mistake.
    """
    try:
        yield
    except MISTAKES as error:
        raise ValueError(f"{sentence}: {reason(cfg, error)}.") from error


def reason(cfg: CfgNode, error: Exception) -> str:
    """Say what is wrong, as the end of a sentence.

    Args:
        cfg: that has the known keys.
        error: of Detectron2, fvcore, yacs or YAML.
    """
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or files name each other as _BASE_ in a circle"
    text = str(error.args[0] if len(error.args) == 1 else error)
    unknown = re.fullmatch(r"Non-existent (?:config )?key: (.*)", text, re.DOTALL)
    if unknown:
        near = get_close_matches(unknown[1], known_keys(cfg), 1)
        more = f"; the nearest is {near[0]}" if near else ""
        return f"there is no key {unknown[1]}{more}"
    mismatch = re.search(r" for config key: (\S+)$", text)  # yacs writes out both values
    if mismatch:
        value = value_of(cfg, mismatch[1])
        kind = "a group of keys" if isinstance(value, CfgNode) else f"like {value!r}"
        return f"the value of {mismatch[1]} must be {kind}, and has another type"
    if isinstance(error, (AttributeError, TypeError)):
        return "it has no lines 'KEY: VALUE', or a key or its _BASE_ is no text"
    return " ".join(text.split()).rstrip(".")


def value_of(cfg: CfgNode, key: str) -> Optional[Any]:
    """Look up "SOLVER.BASE_LR"; None if there is no such key."""
    value: Any = cfg
    for part in key.split("."):
        if not isinstance(value, CfgNode) or part not in value:
            return None
        value = value[part]
    return value


def known_keys(cfg: CfgNode) -> List[str]:
    """List all keys that have a value, "SOLVER.BASE_LR" for one."""
    keys: List[str] = []
    for name, value in cfg.items():
        below = known_keys(value) if isinstance(value, CfgNode) else None
        keys += [name] if below is None else [f"{name}.{key}" for key in below]
    return keys


def check_device(cfg: CfgNode) -> None:
    """Refuse a device that PyTorch does not have here.

    Raises:
        ValueError: MODEL.DEVICE is none, or a GPU that is not there.
    """
    try:
        device = torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE '{cfg.MODEL.DEVICE}' is no device. Set it to cpu or cuda."
        ) from error
    if device.type != "cuda":
        return
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise ValueError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', but no GPU is available to PyTorch. To compute "
            "on the CPU, add MODEL.DEVICE cpu to the command."
        )
    if (device.index or 0) >= found:
        raise ValueError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', but PyTorch has {found} GPUs, from cuda:0 to "
            f"cuda:{found - 1}. Choose one of them."
        )


def require_sizes(cfg: CfgNode) -> None:
    """Refuse a config whose sizes do not follow from data yet.

    Raises:
        ValueError: INPUT.SIZES_FROM_DATA is True.
    """
    if cfg.INPUT.SIZES_FROM_DATA:
        raise ValueError(
            "INPUT.SIZES_FROM_DATA is True, but the sizes of images and anchors were not chosen. "
            "To use a trained model, give the config.yaml of its training. To train, name the data "
            "(--train-json; in Python call scnet.configure_for_datasets). Or set the key to False."
        )
