"""The runs behind a table of the paper: config, command, folder and results of each row."""

import csv
import functools
import json
import re
import shlex
from argparse import Namespace
from math import nan
from pathlib import Path
from typing import Dict, List, Optional

from detectron2.config import CfgNode
from tabulate import tabulate

from scnet import get_config_file
from scnet.config import find_config, read_cfg
from scnet.engine.measured import is_finished
from scnet.engine.output_dir import changed_keys
from scnet.whole_files import whole_file
from scnet_tools.paper_tables import FPS, METRICS, TABLES, Row, Table
from scnet_tools.runs import RESULTS, TRAIN, mean_and_deviation, run

SCNET = "scnet_R_50_FPN_20e_coco.yaml"  # what the configs of Tables 2 to 5 start from
DATASETS = {"coco": SCNET, "shapes": "quickstart.yaml"}


def reproduce(args: Namespace) -> None:
    """Run what the arguments ask for and has not been run, and print the table.

    Raises:
        ValueError: the arguments do not go together.
        ChildProcessError, FileExistsError: see :func:`run`.
    """
    table = TABLES[args.table]
    numbers = args.rows or list(range(1, len(table.rows) + 1))
    if any(not 1 <= n <= len(table.rows) for n in numbers):
        raise ValueError(f"--rows: Table {args.table} has the rows 1 to {len(table.rows)}.")
    if args.weights and len(args.weights) != len(numbers):
        raise ValueError(f"--weights has {len(args.weights)} files for {len(numbers)} rows.")
    output = Path(args.output)
    base = base_config(args)
    names = [run_name(base, args.table, row.config) for row in table.rows]
    folders = [[output / name / f"seed{seed}" for seed in args.seeds] for name in names]
    for i, number in enumerate(numbers):
        row = table.rows[number - 1]
        weights = args.weights[i] if args.weights else None
        for seed, folder in zip(args.seeds, folders[number - 1]):
            line = command(args, row, seed, folder, weights)
            if args.dry_run:
                print(shlex.join(line))
                continue
            settings = [model(base, args.table, row.config), *common_opts(args), weights or ""]
            run(line, folder, "\n".join(settings), is_done)
    if not args.dry_run:
        measured = [[r for r in map(read_results, runs) if r] for runs in folders]
        print(write_table(table, measured, args.dataset, output / f"table{args.table}"))


@functools.lru_cache
def load(config_file: str) -> CfgNode:
    return read_cfg(config_file)


@functools.lru_cache
def row_opts(number: str, config: str) -> Dict[str, str]:
    """What makes a row: the keys in which the rows of table ``number`` differ from each other or
    from SCNet, with the values of the row's config."""
    scnet = load(get_config_file(SCNET))
    cfgs = {r.config: load(get_config_file(f"{r.config}.yaml")) for r in TABLES[number].rows}
    keys = {key for cfg in cfgs.values() for key in changed_keys(scnet, cfg)} - {"OUTPUT_DIR"}
    return {
        key: str(functools.reduce(CfgNode.__getitem__, key.split("."), cfgs[config]))
        for key in sorted(keys)
    }


@functools.lru_cache
def model(base: str, number: str, config: str) -> str:
    """The complete config of a row upon a base config; equal for rows that are the same model."""
    cfg = load(base).clone()
    cfg.merge_from_list([x for pair in row_opts(number, config).items() for x in pair])
    return cfg.dump()


def run_name(base: str, number: str, config: str) -> str:
    """The folder of a row's run: that of the first row of any table which is the same model."""
    for other_number, table in TABLES.items():
        if other_number == "1" and number != "1":
            continue  # its models are those of COCO
        for other in table.rows:
            if model(base, other_number, other.config) == model(base, number, config):
                return Path(other.config).name
    raise KeyError(config)


def base_config(args: Namespace) -> str:
    """The config that says everything but the method: data, sizes, schedule.

    Raises:
        ValueError: schedule or table do not go with the data set.
    """
    if args.schedule == "1x" and args.dataset == "coco":
        return get_config_file("scnet_R_50_FPN_1x_coco.yaml")
    if args.schedule in ("1x", "20e") and args.dataset != "coco":
        raise ValueError(f"--schedule {args.schedule} is COCO's. Give a number of iterations.")
    if args.schedule not in (None, "1x", "20e") and not (
        args.schedule.isdigit() and int(args.schedule) >= 20
    ):
        raise ValueError(
            f"--schedule is '{args.schedule}'; it is 1x, 20e or a number of iterations from 20."
        )
    if args.table == "1" and args.dataset != "coco":
        raise ValueError("Table 1 compares ImageNet backbones; it needs --dataset coco.")
    if args.dataset in DATASETS:
        return get_config_file(DATASETS[args.dataset])
    try:
        return find_config(args.dataset)
    except FileNotFoundError as error:
        names = ", ".join(DATASETS)
        message = f"--dataset '{args.dataset}' is neither of {names} nor a config. {error}"
        raise ValueError(message) from error


def command(
    args: Namespace, row: Row, seed: int, folder: Path, weights: Optional[str]
) -> List[str]:
    """The command that trains and evaluates a row, or only evaluates its ``weights``."""
    opts = {"OUTPUT_DIR": str(folder), "SEED": str(seed), **row_opts(args.table, row.config)}
    if weights:
        opts["MODEL.WEIGHTS"] = weights
    return [
        *(*TRAIN, "--num-gpus", str(args.num_gpus)),
        "--eval-only" if weights else "--resume",
        *("--config-file", base_config(args)),
        *(x for pair in opts.items() for x in pair),
        *common_opts(args),
    ]


def common_opts(args: Namespace) -> List[str]:
    """What holds for all rows: the schedule, if it is a number of iterations, and --opts."""
    if not (args.schedule and args.schedule.isdigit()):
        return args.opts
    iterations = int(args.schedule)  # divided by 10 after 80% and 95%, as in Sec. 5.1
    steps = (iterations * 16 // 20, iterations * 19 // 20)
    return ["SOLVER.MAX_ITER", str(iterations), "SOLVER.STEPS", str(steps), *args.opts]


def is_done(folder: str) -> bool:
    """Whether a row was evaluated: weights that are given, or a training at its end."""
    if not Path(folder, RESULTS).exists():
        return False
    return is_finished(folder) or not Path(folder, "metrics.json").exists()


def read_results(folder: Path) -> Optional[Dict[str, float]]:
    """Column of the paper -> measured value; None if the run has not finished."""
    file = folder / RESULTS
    if not file.exists():
        return None
    (tasks,) = json.loads(file.read_text()).values()
    values = {column: tasks[task][metric] for column, (task, metric) in METRICS.items()}
    for log in (folder / "log.txt", folder / "inference/log.txt"):
        if log.exists():
            times = re.findall(r"pure compute time.*\(([\d.]+) s / iter", log.read_text())
            if times:
                values[FPS] = 1 / float(times[-1])
    return values


def write_table(
    table: Table, measured: List[List[Dict[str, float]]], dataset: str, stem: Path
) -> str:
    """Save a table as STEM.md (paper / measured) and STEM.csv (every run), and return the former.

    Args:
        measured: per row, the results of its finished runs, one per seed.
        dataset: what they were measured on.
    """
    head = [*table.label_columns, *table.value_columns]
    lines = []
    for row, runs in zip(table.rows, measured):
        cells = []
        for column, paper in zip(table.value_columns, row.paper):
            values = [v.get(column, nan) for v in runs]
            cells.append(f"{paper} / {mean_and_deviation(values)}")
        lines.append([*row.labels, *cells])
    text = tabulate(lines, head, tablefmt="github", disable_numparse=True)
    text = f"{table.title}. Each cell: paper / measured ({dataset}).\n\n{text}\n"
    with whole_file(f"{stem}.md") as f:
        f.write(text)
    with whole_file(f"{stem}.csv", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["source", *head])
        for row, runs in zip(table.rows, measured):
            writer.writerow(["paper", *row.labels, *row.paper])
            for values in runs:
                cells = [values.get(column, "") for column in table.value_columns]
                writer.writerow(["measured", *row.labels, *cells])
    return text
