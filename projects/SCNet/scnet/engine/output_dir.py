"""The rules of OUTPUT_DIR: a run is never written over, and its config.yaml is never lost."""

import os
import tempfile
from pathlib import Path
from typing import Dict, List

import yaml
from detectron2.config import CfgNode

from ..checkpoint.durable import write_durably
from ..config import read_cfg
from .distributed import on_main_process
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
# What is opened in OUTPUT_DIR, by Detectron2, TensorBoard or here, and so would be written where a
# link leads. Checkpoints and results are written beside their place.
WRITTEN_BY_NAME = (
    CONFIG,
    "log.txt*",
    "metrics.json",
    "runs.jsonl",
    "run.lock",
    "events.out.tfevents.*",
)

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

    The first process looks, and the others get what it found: they would see what it has changed.

    Returns:
        what changes for a run that goes on; see :func:`check_former_config`.

    Raises:
        FileExistsError: another process trains there; the folder holds a run, and ``resume`` is
            False; the run has another model or optimizer; or ``config.yaml`` is of no run.
        ValueError: the ``config.yaml`` of the run cannot be read.
        OSError: the folder cannot be written to.
    """
    return on_main_process(_prepare, cfg, resume)


def _prepare(cfg: CfgNode, resume: bool) -> List[str]:
    make_folder(cfg.OUTPUT_DIR)
    lock_run(cfg.OUTPUT_DIR)
    if not resume:
        refuse_to_overwrite(cfg.OUTPUT_DIR)
    if traces_of_a_run(cfg.OUTPUT_DIR):
        return check_former_config(cfg)
    refuse_config_of_the_user(cfg.OUTPUT_DIR)
    return []


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
    """Compare the config with that of the run in OUTPUT_DIR.

    Returns:
        "KEY old -> new" for each key that has another value now. The seed is left out: the trainer
        knows which one is in force. So is the device, which config.yaml does not have.

    Raises:
        FileExistsError: the run has another model or another optimizer.
        ValueError: its config cannot be read.
    """
    config = Path(cfg.OUTPUT_DIR, CONFIG)
    if not config.exists():
        return [f"The run has no {CONFIG}, so what changes is not known."]
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


def refuse_config_of_the_user(folder: str) -> None:
    """Refuse to replace a config.yaml that no training has written for this folder.

    One that a training wrote and never used, because it ended before its first step, is a whole
    config that names the folder.

    Raises:
        FileExistsError: it is of another kind.
    """
    config = Path(folder, CONFIG)
    if not config.exists():
        return
    try:
        cfg = read_cfg(config)
    except ValueError:  # of another program, or half of one
        ours = False
    else:
        own_folder = os.path.realpath(cfg.OUTPUT_DIR) == os.path.realpath(folder)
        ours = own_folder and says_the_same(config, cfg)
    if not ours:
        raise FileExistsError(
            f"'{config}' is of no run, and a training would write its whole config there. Move "
            "the file to another folder and give it with --config-file, or choose another "
            "directory: OUTPUT_DIR path/to/dir."
        )


def says_the_same(config: Path, cfg: CfgNode) -> bool:
    """Whether a file has the keys and values of a whole config, and no others."""
    return yaml.safe_load(config.read_text()) == yaml.safe_load(cfg.dump())


def save_config(cfg: CfgNode) -> None:
    """Write the config of a run; one that the run had before is kept as config.yaml.1, .2, ....

    At every moment config.yaml is whole, the former one or the new one.

    Raises:
        OSError: it cannot be written.
    """
    config = Path(cfg.OUTPUT_DIR, CONFIG)
    if config.exists() and traces_of_a_run(cfg.OUTPUT_DIR):
        if says_the_same(config, cfg):
            return
        keep(config)
    write_durably(str(config), cfg.dump())


def keep(config: Path) -> None:
    """Copy a config beside itself, under the next number."""
    text, count = config.read_text(), 0
    while Path(f"{config}.{count + 1}").exists():
        count += 1
    # A process that was killed before it wrote another config has made the copy already.
    if not count or Path(f"{config}.{count}").read_text() != text:
        write_durably(f"{config}.{count + 1}", text)
