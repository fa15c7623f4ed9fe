"""The rules of OUTPUT_DIR: a run is never written over, and its config.yaml is never lost."""

import itertools
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..config import read_cfg

# What a run leaves behind. A log alone does not make a run: a mistyped command writes one too.
TRACES = ("last_checkpoint", "metrics.json", "model_final.pth")
CONFIG = "config.yaml"
FORMER_CONFIG = "config.yaml.former"

# Keys below MODEL that a run may go on with other values of.
MAY_CHANGE = (
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.TRUST_WEIGHTS",
    "MODEL.SCNET.ACTIVATION_CHECKPOINTING",
    "MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT",
    "MODEL.SCNET.OPTIMIZE_FOR_INFERENCE",
    "MODEL.SCNET.SEMANTIC.OUTPUT",
)


def prepare_output_dir(cfg: CfgNode, resume: bool) -> None:
    """Make OUTPUT_DIR ready for a run, a new one or one that goes on; each process calls this.

    Raises:
        FileExistsError: the folder holds a run, and ``resume`` is False; or the run has another
            model.
        OSError: the folder cannot be written to.
    """
    if comm.is_main_process():
        recover_config(cfg.OUTPUT_DIR)
    comm.synchronize()
    if not resume:
        refuse_to_overwrite(cfg.OUTPUT_DIR)
    else:
        refuse_another_model(cfg)
    comm.synchronize()  # no process may create files before all have looked
    if comm.is_main_process():
        make_folder(cfg.OUTPUT_DIR)


def refuse_to_overwrite(folder: str) -> None:
    """Refuse to train where another training has left its files.

    Raises:
        FileExistsError: the folder holds a run.
    """
    found = traces_of_a_run(folder)
    if found:
        raise FileExistsError(
            f"OUTPUT_DIR '{folder}' holds a run already ({', '.join(found)}). Continue it with "
            "--resume, or choose another directory: OUTPUT_DIR path/to/dir."
        )


def refuse_another_model(cfg: CfgNode) -> None:
    """Refuse to resume a run as another model than it began with.

    Raises:
        FileExistsError: OUTPUT_DIR holds a run, and its config describes another model.
    """
    config = Path(cfg.OUTPUT_DIR, CONFIG)
    if not (traces_of_a_run(cfg.OUTPUT_DIR) and config.exists()):
        return
    keys = changed_keys(read_cfg(config), cfg)
    changed = [key for key in keys if key.startswith("MODEL.") and key not in MAY_CHANGE]
    if changed:
        raise FileExistsError(
            f"--resume would go on with another model than that of the run in '{cfg.OUTPUT_DIR}': "
            f"{', '.join(changed)} differ from its config.yaml. Choose another OUTPUT_DIR."
        )


def traces_of_a_run(folder: str) -> List[str]:
    """List the files that a run has left in a folder; one that never began leaves empty ones."""
    paths = [Path(folder, name) for name in TRACES]
    return [path.name for path in paths if path.exists() and path.stat().st_size]


def changed_keys(before: CfgNode, after: CfgNode) -> List[str]:
    """List the keys in which two configs differ, in full ("MODEL.MASK_ON")."""
    changed = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, CfgNode) and isinstance(new, CfgNode):
            changed += [f"{key}.{below}" for below in changed_keys(old, new)]
        elif old != new:
            changed.append(key)
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
