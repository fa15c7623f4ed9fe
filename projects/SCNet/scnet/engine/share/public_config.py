"""The config of a training without what concerns its author alone."""

import os
from typing import Any, List, Tuple

from detectron2.config import CfgNode

from ...config import get_cfg
from ...config_mistakes import known_keys, value_of

# Data sets, folders and accounts of the author. What is below a key belongs to it.
PRIVATE = ("DATASETS", "MLFLOW", "MODEL.WEIGHTS", "OUTPUT_DIR", "WANDB")


def public_config(cfg: CfgNode) -> Tuple[CfgNode, List[str]]:
    """Set the keys to their defaults that name data, accounts or places on the author's machine.

    Those are :data:`PRIVATE`, and any other whose value is a path that is absolute, begins with "~"
    or "..", or exists here.

    Returns:
        a copy of the config, and the keys that were changed.
    """
    public, defaults = cfg.clone(), get_cfg()
    public.defrost()
    changed = []
    for key in sorted(known_keys(cfg)):
        value, default = value_of(cfg, key), value_of(defaults, key)
        private = any(f"{key}.".startswith(f"{name}.") for name in PRIVATE) or _is_path(value)
        if private and value != default:
            group, _, last = key.rpartition(".")
            node: Any = value_of(public, group) if group else public
            node[last] = default
            changed.append(key)
    return public, changed


def _is_path(value: Any) -> bool:
    """Whether a value is a path of this machine, or has one."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_path, value))
    if not isinstance(value, str) or "://" in value:
        return False
    return value.startswith(("/", "\\", "~", "..")) or (os.sep in value and os.path.exists(value))
