"""The files of a shared model: weights, config and page, and nothing else of the training."""

import os
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from detectron2.config import CfgNode

from ... import __version__
from ...checkpoint import load_model
from ...checkpoint.checkpointer import BEST
from ...checkpoint.hub import CONFIG, WEIGHTS
from ...checkpoint.reading import check_named, check_weights, read_torch
from ...config import get_config_file, read_cfg
from ...data.own_data import register_datasets
from ...inference.pytorch_backend import names_of_classes
from ...overwrite import refuse_impossible_outputs, refuse_to_replace
from ...whole_files import write_whole
from ..json_lines import read_lines
from ..measured import FINAL, TASKS, evaluations, steps_done
from ..provenance import NAME as RUNS
from ..provenance import versions
from ..report.statistics import Statistics, statistics
from ..report.write import NAME as REPORT
from .model_card import Card
from .public_config import public_config

CARD = "README.md"
FILES = (WEIGHTS, CONFIG, CARD, REPORT)


def write_model_folder(
    run: str,
    folder: str,
    *,
    weights: Optional[str] = None,
    name: str = "",
    license: Optional[str] = None,
    report: bool = False,
    overwrite: bool = False,
) -> List[str]:
    """Write what others need of a training; the model is loaded from there once, as they will.

    Args:
        run: OUTPUT_DIR of the training.
        folder: gets ``model.safetensors``, ``config.yaml`` and ``README.md``.
        weights: the name of a checkpoint in ``run``; by default ``model_best.pth`` or, without it,
            ``model_final.pth``.
        name: of the repository, for the page.
        license: for the page, as Hugging Face names it.
        report: also copy ``report.html``. It has images of the test data, and commands and paths
            of the machine, so its author has to want it.
        overwrite: replace files that exist.

    Returns:
        sentences about what went in and what was left out.

    Raises:
        FileNotFoundError: ``run`` lacks the config, the weights or the report.
        FileExistsError: a file is there, and ``overwrite`` is False.
        OSError: a file cannot be read or written.
        ValueError: the weights cannot be read or do not fit the config; they do not know the names
            of their classes; or the package safetensors is missing.
    """
    source = _find_weights(run, weights)
    paths = {x: os.path.join(folder, x) for x in FILES if report or x != REPORT}
    _must_exist(run, CONFIG)
    if report:
        _must_exist(run, REPORT)
    read = [source, os.path.join(run, CONFIG), os.path.join(run, REPORT)]
    refuse_impossible_outputs([*paths.values()], read)
    if not overwrite:
        refuse_to_replace([*paths.values()])
    checkpoint = check_named(read_torch(source), source)
    state = checkpoint.get("model", {})  # with a moving average, the averaged weights
    check_weights(state, source)
    cfg = read_cfg(os.path.join(run, CONFIG))
    public, removed = public_config(cfg)

    write_whole(paths[WEIGHTS], _safetensors(state, paths[WEIGHTS]))
    write_whole(paths[CONFIG], public.dump().encode())
    class_names = _load_again(paths)
    notes = [f"{WEIGHTS}: the weights of '{source}', without the state of the training"]
    notes.append(f"{CONFIG}: without {', '.join(removed) or 'changes'}")
    data = _data(cfg, notes)
    metrics = _metrics(run, cfg, checkpoint.get("iteration"))
    if not metrics:
        notes.append(f"{CARD}: without measures, as '{source}' was not evaluated in its training")
    if not license:
        notes.append(f"{CARD}: without a licence, so nobody may use the model yet (--license)")
    card = Card(
        name, _config_name(run), class_names, metrics, data, _versions(run), license, report
    )
    if report:
        shutil.copyfile(os.path.join(run, REPORT), paths[REPORT])
        notes.append(f"{REPORT}: with images of the test data, and with the paths in its commands")
    write_whole(paths[CARD], str(card).encode())
    return notes


def _must_exist(run: str, name: str) -> str:
    path = os.path.join(run, name)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"'{path}' does not exist. Give the OUTPUT_DIR of a training that has ended, or been "
            "evaluated."
        )
    return path


def _find_weights(run: str, name: Optional[str]) -> str:
    if name:
        return _must_exist(run, name)
    best = os.path.join(run, f"{BEST}.pth")
    return best if os.path.isfile(best) else _must_exist(run, FINAL)


def _safetensors(state: Dict[str, Any], path: str) -> bytes:
    try:
        from safetensors.torch import save
    except ModuleNotFoundError as error:
        raise ValueError(
            f"'{path}' needs the package safetensors, which is not installed. Run python -m pip "
            "install 'huggingface_hub>=1.0' safetensors (the extra 'hub' of this package)."
        ) from error
    # Tensors that share memory are refused, so each gets its own.
    tensors = {name: torch.as_tensor(x).clone().contiguous() for name, x in state.items()}
    return save(tensors, metadata={"format": "pt", "detectron2-scnet": __version__})


def _load_again(paths: Dict[str, str]) -> List[str]:
    """Load the model as its users will; return the names of its classes."""
    cfg = read_cfg(paths[CONFIG], ["MODEL.DEVICE", "cpu"])
    return names_of_classes(load_model(cfg, paths[WEIGHTS]), cfg)


def _data(cfg: CfgNode, notes: List[str]) -> Dict[str, Statistics]:
    """Count the images and objects of the run, if they are here; else a note says so."""
    cfg = cfg.clone()
    found: Dict[str, Statistics] = {}
    try:
        register_datasets(cfg)
        for title, names in (("training", cfg.DATASETS.TRAIN), ("test", cfg.DATASETS.TEST)):
            if len(names) == 1:
                found.update((title, x) for x in statistics(names))
    except OSError as error:
        notes.append(f"{CARD}: without numbers of images and objects ({error})")
        return {}
    return found


def _metrics(run: str, cfg: CfgNode, iteration: Optional[int]) -> Dict[str, Dict[str, float]]:
    """What the training measured with weights: those of its evaluation after as many steps.

    Of several data sets it is the first.

    Args:
        iteration: that the checkpoint has.
    """
    if iteration is None:
        return {}
    found, trained = evaluations(run)
    several = f"{cfg.DATASETS.TEST[0]}/" if len(cfg.DATASETS.TEST) > 1 else ""
    measures: Dict[str, Dict[str, float]] = {}
    for name, value in found.get(steps_done(iteration, trained), {}).items():
        for task in TASKS:
            prefix = f"{several}{task}/"
            if name.startswith(prefix):
                measures.setdefault(task, {})[name[len(prefix) :]] = value
    return {task: measures[task] for task in TASKS if task in measures}


def _config_name(run: str) -> str:
    """The config that the run was started with, if it is one of the package; else ""."""
    for line in read_lines(os.path.join(run, RUNS)):
        command = line["command"]
        for option, value in zip(command, command[1:]):
            if option in ("--config", "--config-file"):
                try:
                    return Path(get_config_file(Path(value).name)).stem
                except FileNotFoundError:
                    return ""  # one of the author's own
    return ""


def _versions(run: str) -> Dict[str, str]:
    lines = read_lines(os.path.join(run, RUNS))
    return {"detectron2-scnet": __version__, **(lines[-1]["versions"] if lines else versions())}
