"""The rules of OUTPUT_DIR: a run is never written over, and its config.yaml is never lost."""

import itertools
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..config import read_cfg
from .run_lock import lock_run

# What a run leaves behind. A log alone does not make a run: a mistyped command writes one too.
TRACES = (
    "last_checkpoint",
    "metrics.json",
    "model_final.pth",
    "model_best.pth",
    "model_[0-9]*.pth",
)
CONFIG = "config.yaml"
FORMER_CONFIG = "config.yaml.former"

# A run goes on only with the same values of these keys and of those below them ...
MUST_STAY = ("MODEL.", "SOLVER.OPTIMIZER", "SOLVER.EMA.ENABLED")
# ... but for these.
MAY_CHANGE = (
    "MODEL.ALLOW_SURPLUS_WEIGHTS",
    "MODEL.WEIGHTS",
    "MODEL.TRUST_WEIGHTS",
    "MODEL.SCNET.ACTIVATION_CHECKPOINTING",
    "MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT",
    "MODEL.SCNET.OPTIMIZE_FOR_INFERENCE",
    "MODEL.SCNET.SEMANTIC.OUTPUT",
)


def prepare_output_dir(cfg: CfgNode, resume: bool) -> List[str]:
    """Make OUTPUT_DIR ready for a run, a new one or one that goes on; each process calls this.

    Returns:
        what changes for a run that goes on; see :func:`check_former_config`.

    Raises:
        FileExistsError: another process trains there; the folder holds a run, and ``resume`` is
            False; or the run has another model or optimizer.
        OSError: the folder cannot be written to.
    """
    in_use = ""
    if comm.is_main_process():
        make_folder(cfg.OUTPUT_DIR)
        try:
            lock_run(cfg.OUTPUT_DIR)
        except FileExistsError as error:
            in_use = str(error)
        else:
            recover_config(cfg.OUTPUT_DIR)
    in_use = comm.all_gather(in_use)[0]
    if in_use:
        raise FileExistsError(in_use)
    changes = []
    if not resume:
        refuse_to_overwrite(cfg.OUTPUT_DIR)
    else:
        changes = check_former_config(cfg)
    comm.synchronize()  # no process may create files before all have looked
    return changes


def refuse_to_overwrite(folder: str) -> None:
    """Refuse to train where another training has left its files.

    Raises:
        FileExistsError: the folder holds a run.
    """
    found = traces_of_a_run(folder)
    if found:
        raise FileExistsError(
            f"OUTPUT_DIR '{folder}' holds a run already ({', '.join(found[:3])}). Continue it with "
            "--resume, or choose another directory: OUTPUT_DIR path/to/dir."
        )


def check_former_config(cfg: CfgNode) -> List[str]:
    """Compare the config with that of the run in OUTPUT_DIR, if there is one.

    Returns:
        "KEY old -> new" for each key that has another value now. The seed is left out: the trainer
        knows which one is in force. So is the device, which config.yaml does not have.

    Raises:
        FileExistsError: the run has another model or another optimizer.
    """
    config = Path(cfg.OUTPUT_DIR, CONFIG)
    if not (traces_of_a_run(cfg.OUTPUT_DIR) and config.exists()):
        return []
    changes = changed_keys(read_cfg(config), cfg)
    changes.pop("MODEL.DEVICE", None)
    refused = [key for key in changes if key.startswith(MUST_STAY) and key not in MAY_CHANGE]
    if refused:
        raise FileExistsError(
            f"--resume would go on with another model or optimizer than that of the run in "
            f"'{cfg.OUTPUT_DIR}': {', '.join(refused)} differ from its config.yaml. Choose another "
            "OUTPUT_DIR."
        )
    changes.pop("SEED", None)
    goes_on = any(name != "metrics.json" for name in traces_of_a_run(cfg.OUTPUT_DIR))
    if goes_on and "MODEL.WEIGHTS" in changes:
        changes["MODEL.WEIGHTS"] += " (not used: the run goes on from its last checkpoint)"
    return [f"{key} {change}" for key, change in changes.items()]


def traces_of_a_run(folder: str) -> List[str]:
    """List the files that a run has left in a folder; one that never began leaves empty ones."""
    paths = (path for name in TRACES for path in sorted(Path(folder).glob(name)))
    return [path.name for path in paths if path.stat().st_size]


def changed_keys(before: CfgNode, after: CfgNode) -> Dict[str, str]:
    """Find the keys in which two configs differ: "MODEL.MASK_ON" -> "True -> False"."""
    changed = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, CfgNode) and isinstance(new, CfgNode):
            changed.update({f"{key}.{k}": change for k, change in changed_keys(old, new).items()})
        elif old != new:
            changed[key] = f"{old} -> {new}"
    return changed


def make_folder(folder: str) -> None:
    """Make a folder if it is not there, and see whether it can be written to.

    Raises:
        OSError: it cannot.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as f:
            f.write(bytes(1 << 16))
    except OSError as error:
        raise OSError(f"OUTPUT_DIR '{folder}' cannot be written to: {error}.") from error


@contextmanager
def former_config_kept(folder: str) -> Iterator[None]:
    """Within it, config.yaml can be written anew; that of a run is kept as config.yaml.1, .2, ....

    Detectron2 writes config.yaml at every start. A process that is killed meanwhile leaves half of
    it; the former one then lies aside, and :func:`recover_config` brings it back.
    """
    config, former = Path(folder, CONFIG), Path(folder, FORMER_CONFIG)
    if comm.is_main_process() and config.exists() and traces_of_a_run(folder):
        config.replace(former)
    yield
    if comm.is_main_process() and former.exists():
        if former.read_text() == config.read_text():
            former.replace(config)
        else:
            backups = (Path(f"{config}.{number}") for number in itertools.count(1))
            former.rename(next(path for path in backups if not path.exists()))


def recover_config(folder: str) -> None:
    """Bring back the config of a run whose last start was killed before it wrote another."""
    former = Path(folder, FORMER_CONFIG)
    if former.exists():
        former.replace(Path(folder, CONFIG))
