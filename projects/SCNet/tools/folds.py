"""Cross-validation: as many trainings as folds, each evaluated on a part of the data of its own."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List, Sequence

from detectron2.config import CfgNode
from tabulate import tabulate
from torch.distributed import is_torchelastic_launched

from scnet.data.own_data import given_opts, read_cfg_of, register_datasets
from scnet.data.validation_split import PARTS, split_into_folds
from scnet.engine.evaluation.results import METRICS
from scnet.engine.measured import is_finished
from scnet.engine.output_dir import make_folder, refuse_to_overwrite, traces_of_a_run
from scnet.engine.report.results_file import evaluate_file
from scnet.overwrite import refuse_to_replace
from scnet.whole_files import whole_file
from scnet_tools.runs import RESULTS, TRAIN, mean_and_deviation, run

DETECTIONS = "inference/coco_instances_results.json"  # of a fold
SUMMARY, POOLED = "folds", "detections.json"  # in OUTPUT_DIR
TASKS = {"segm": "masks", "bbox": "boxes"}


def cross_validate(args: Namespace) -> None:
    """Train the folds that are not done, and write what they measured.

    OUTPUT_DIR gets a folder for each fold, ``folds.md`` and ``folds.json``, and the detections of
    all folds, which together are of all images, as ``detections.json``.

    Args:
        args: of ``train_net.py``.

    Raises:
        ValueError: the arguments do not go together, or see :func:`split_into_folds`.
        FileExistsError: OUTPUT_DIR holds a run, or folds without ``--resume``, or other folds.
        OSError: a file cannot be read or written; or a training has failed.
    """
    refuse_others(args)
    cfg = read_cfg_of(args)
    output = Path(cfg.OUTPUT_DIR)
    folders = [output / f"fold{k}" for k in range(1, args.folds + 1)]
    make_folder(str(output))
    refuse_to_overwrite(str(output))
    refuse_folds(output, args.folds, args.resume)
    splits = [str(folder / "split") for folder in folders]
    given = given_opts(args)[::2]
    print("\n".join(split_into_folds(cfg, splits, given)), flush=True)
    settings = cfg.dump() + f"{args.epochs} {args.batch} {args.lr}"
    for folder in folders:
        run(command(args, cfg, folder), folder, settings, is_finished)
    measured = [read_results(folder) for folder in folders]
    pooled = evaluate_pooled(cfg, folders, str(output / POOLED))
    print(write_summary(measured, pooled, str(output / SUMMARY)))


def refuse_others(args: Namespace) -> None:
    """Find arguments that do not go with --folds.

    Raises:
        ValueError: there is one.
    """
    if args.folds < 2:
        raise ValueError(f"--folds is {args.folds}. It is the number of parts, 2 or more; often 5.")
    if args.val_fraction is not None:
        raise ValueError(
            "--folds and --val-fraction both say what to evaluate on. Leave one of them out."
        )
    if args.eval_only:
        raise ValueError("--folds trains. To evaluate a fold again, use scnet eval.")
    if args.num_machines > 1 or is_torchelastic_launched():
        raise ValueError(
            "--folds starts its trainings on one machine, without torchrun: use --num-gpus."
        )


def refuse_folds(output: Path, count: int, resume: bool) -> None:
    """Refuse to begin where folds were trained, and to go on with fewer of them.

    Raises:
        FileExistsError: there are such folds, or files in the place of the summary.
    """
    if traces_of_a_run(str(output / f"fold{count + 1}")):
        raise FileExistsError(f"'{output}' has more than {count} folds. Choose another OUTPUT_DIR.")
    if resume:
        return
    if traces_of_a_run(str(output / "fold1")):
        raise FileExistsError(
            f"'{output}' holds folds already. Go on with them with --resume, or choose another "
            "OUTPUT_DIR."
        )
    refuse_to_replace([output / f"{SUMMARY}.md", output / f"{SUMMARY}.json", output / POOLED])


def command(args: Namespace, cfg: CfgNode, folder: Path) -> List[str]:
    """The training of one fold. It goes on if the fold has begun."""
    train, val = (str(folder / "split" / f"{part}.json") for part in PARTS)
    images = str(tuple(cfg.DATASETS.TRAIN_IMAGES))
    own = {
        "DATASETS.TRAIN_JSON": str((train,)),
        "DATASETS.TRAIN_IMAGES": images,
        "DATASETS.TEST_JSON": str((val,)),
        "DATASETS.TEST_IMAGES": images,
        "OUTPUT_DIR": str(folder),
    }
    schedule = {"--epochs": args.epochs, "--batch": args.batch, "--lr": args.lr}
    return [
        *(*TRAIN, "--resume", "--config-file", args.config_file),
        *("--num-gpus", str(args.num_gpus), "--dist-url", args.dist_url),
        *(x for name, value in schedule.items() if value is not None for x in (name, str(value))),
        *args.opts,
        *(x for pair in own.items() for x in pair),
    ]


def read_results(folder: Path) -> Dict[str, Dict[str, float]]:
    """What the last evaluation of a fold measured: "segm" or "bbox" -> metric -> percent."""
    (tasks,) = json.loads((folder / RESULTS).read_text()).values()
    return {task: tasks[task] for task in TASKS if task in tasks}


def evaluate_pooled(cfg: CfgNode, folders: Sequence[Path], path: str) -> Dict[str, Dict]:
    """Evaluate the detections of all folds at once: each image has those of the model that has not
    seen it.

    Args:
        cfg: names the json file of all images.
        folders: of the folds.
        path: gets the detections, in COCO's result format.

    Returns:
        as :func:`read_results`.
    """
    found: List[Any] = []
    for folder in folders:
        found += json.loads((folder / DETECTIONS).read_text())
    with whole_file(path) as f:
        json.dump(found, f)
    cfg = cfg.clone()
    cfg.DATASETS.TEST_JSON, cfg.DATASETS.TEST_IMAGES = (
        cfg.DATASETS.TRAIN_JSON,
        cfg.DATASETS.TRAIN_IMAGES,
    )
    register_datasets(cfg, ("TEST",))
    return evaluate_file(cfg, path)[1]


def write_summary(
    measured: Sequence[Dict[str, Dict[str, float]]], pooled: Dict[str, Dict], stem: str
) -> str:
    """Write STEM.json, with all measures, and STEM.md, with a table of the main ones.

    Returns:
        the table.
    """
    with whole_file(f"{stem}.json") as f:
        json.dump({"folds": measured, "pooled": pooled}, f, indent=1)
    lines = []
    for task in measured[0]:
        runs = {f"fold {k}": [x[task]] for k, x in enumerate(measured, 1)}
        runs["mean ± standard deviation"] = [x[task] for x in measured]
        if task in pooled:
            runs["all folds at once"] = [pooled[task]]
        for name, values in runs.items():
            cells = [mean_and_deviation([x[m] for x in values if m in x]) for m in METRICS]
            lines.append([TASKS[task], name, *cells])
    text = tabulate(lines, ["", "", *METRICS], tablefmt="github", disable_numparse=True) + "\n"
    with whole_file(f"{stem}.md") as f:
        f.write(text)
    return text
