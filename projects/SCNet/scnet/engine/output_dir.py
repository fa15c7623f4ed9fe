"""The rules of OUTPUT_DIR: a run is never written over, and its config.yaml is always whole."""

import os
import tempfile
from pathlib import Path
from typing import List

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..checkpoint.durable import write_durably
from ..config import read_cfg

# What a run leaves behind. A log alone does not make a run: a mistyped command writes one too.
TRACES = ("last_checkpoint", "metrics.json", "model_final.pth")


def make_folder(folder: str) -> None:
    """Make OUTPUT_DIR if need be, and see whether it can be written to.

    Raises:
        OSError: it cannot.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as f:
            f.write(bytes(1 << 16))
    except OSError as error:
        raise OSError(f"OUTPUT_DIR '{folder}' cannot be written to: {error}.") from error


def traces_of_a_run(folder: str) -> List[str]:
    """The files in a folder that a run leaves behind; a run that never began leaves empty ones."""
    paths = {name: os.path.join(folder, name) for name in TRACES}
    return [name for name, path in paths.items() if os.path.exists(path) and os.path.getsize(path)]


def check_output_dir(cfg: CfgNode, resume: bool) -> None:
    """Refuse to write over a run.

    Raises:
        FileExistsError: see :func:`setup`.
    """
    found = traces_of_a_run(cfg.OUTPUT_DIR)
    if not found:
        return
    if not resume:
        raise FileExistsError(
            f"OUTPUT_DIR '{cfg.OUTPUT_DIR}' holds a run already ({', '.join(found)}). Continue it "
            "with --resume, or choose another directory: OUTPUT_DIR path/to/dir."
        )
    config_file = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
    if not os.path.exists(config_file):
        return
    before = read_cfg(config_file)
    changed = [
        key
        for key in changed_keys(before, cfg)
        if key.startswith("MODEL.") and key not in MAY_CHANGE
    ]
    if changed:
        raise FileExistsError(
            f"--resume would go on with another model than that of the run in '{cfg.OUTPUT_DIR}': "
            f"{', '.join(changed)} differ from its config.yaml. Choose another OUTPUT_DIR."
        )
    with open(config_file) as f:
        unchanged = f.read() == cfg.dump()
    if comm.is_main_process() and not unchanged:
        _keep_backup(config_file)


MAY_CHANGE = (
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.TRUST_WEIGHTS",
    "MODEL.SCNET.ACTIVATION_CHECKPOINTING",
    "MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT",
    "MODEL.SCNET.OPTIMIZE_FOR_INFERENCE",
    "MODEL.SCNET.SEMANTIC.OUTPUT",
)


def changed_keys(before: CfgNode, after: CfgNode) -> List[str]:
    """The keys in which two configs differ, in full ("MODEL.MASK_ON")."""
    changed = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, CfgNode) and isinstance(new, CfgNode):
            changed += [f"{key}.{below}" for below in changed_keys(old, new)]
        elif old != new:
            changed.append(key)
    return changed


# Detectron2 writes config.yaml at every start. While it does, another file has what was in it: a
# process that is killed meanwhile would leave half a config, which is not that of the run.
KEPT = "config.yaml.kept"


def keep_config(folder: str) -> None:
    """Before the config is written."""
    config_file = Path(folder, "config.yaml")
    if config_file.exists():
        write_durably(os.path.join(folder, KEPT), config_file.read_text())


def forget_config(folder: str) -> None:
    """When it is written."""
    Path(folder, KEPT).unlink(missing_ok=True)


def recover_config(folder: str) -> None:
    """At the next start, if that was never reached."""
    kept = Path(folder, KEPT)
    if kept.exists():
        os.replace(kept, Path(folder, "config.yaml"))


def _keep_backup(path: str) -> None:
    """Rename a file to the first of path.1, path.2, ... that is free."""
    number = 1
    while os.path.exists(f"{path}.{number}"):
        number += 1
    os.rename(path, f"{path}.{number}")
