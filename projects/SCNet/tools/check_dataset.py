#!/usr/bin/env python
"""Read a data set as training would, and report what is wrong with it.

    python projects/SCNet/tools/check_dataset.py --config-file C \
        --train-json A --train-images D --val-json B --val-images E --output FOLDER

Takes the arguments of train_net.py. FOLDER gets report.md, and a contact sheet per data set: its
images with their annotations, those with problems first. The exit status is 1 if training would
fail or learn something wrong.
"""

import argparse
import os
import sys
from typing import Dict, List

import cv2
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from scnet import SCNetDatasetMapper, get_config_file, visualization
from scnet.config import read_cfg
from scnet.data import own_data, read_image
from scnet.data.config_from_data import set_data_keys
from scnet.data.datasets.catalog import current_classes, summarize
from scnet.data.datasets.loading import load_usable
from scnet.data.validation.check_image_files import check_image_files
from scnet.data.validation.check_sets import check_sets
from scnet.data.validation.report import Report, shorten

CELL = 400  # pixels, the sides of a picture in the contact sheet
COLUMNS = 4


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = get_config_file("scnet_R_50_FPN_1x_coco.yaml")
    parser.add_argument("--config-file", default=default, metavar="FILE")
    own_data.add_data_arguments(parser)
    parser.add_argument("--output", metavar="FOLDER", help="where the report and the pictures go")
    parser.add_argument("--overwrite", action="store_true", help="replace a report that exists")
    parser.add_argument("--pictures", type=int, default=24, help="per data set (%(default)s)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, last")
    return parser.parse_args()


def contact_sheet(records: List[Dict], names: List[str]) -> np.ndarray:
    """Images with their annotations, one picture (H, W, 3) of all."""
    cells = []
    for record in records:
        pixels = read_image(record["file_name"])
        picture = visualization.draw_ground_truth(pixels, record, names)
        scale = CELL / max(picture.shape)
        size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
        cell = np.full((CELL, CELL, 3), 255, np.uint8)
        cell[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        cells.append(visualization.add_caption(os.path.basename(record["file_name"]), cell))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % COLUMNS)
    rows = [np.concatenate(cells[k : k + COLUMNS], 1) for k in range(0, len(cells), COLUMNS)]
    return np.concatenate(rows)


def choose(records: List[Dict], report: Report, count: int) -> List[Dict]:
    """Images for the contact sheet: those that a message names first, then some of the others."""
    messages = "\n".join(m for of_kind in report.notes.values() for m in of_kind)
    named = [r for r in records if f"'{r['file_name']}'" in messages][:count]
    others = [r for r in records if r not in named]
    step = max(1, len(others) // max(1, count - len(named)))
    return (named + others[::step])[:count]


def is_drawable(record: Dict, report: Report) -> bool:
    """Whether its image was read, and had the right size."""
    wrong = report.errors["unreadable image"] + report.errors["wrong size"]
    return not any(f"'{record['file_name']}'" in message for message in wrong)


def write_report(lines: List[str], folder: str) -> None:
    with open(os.path.join(folder, "report.md"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def main() -> bool:
    """Returns whether the data is fit for training."""
    args = parse_args()
    cfg = read_cfg(args.config_file, [*own_data.data_opts(args), *args.opts])
    if args.output and not args.overwrite:
        visualization.refuse_to_replace([os.path.join(args.output, "report.md")])
    own_data.register_datasets(cfg)
    sets = list(dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]))
    if not sets:
        raise ValueError("There is no data to check. Give --train-json and --train-images.")
    summaries = {name: summarize(name) for name in sets}
    unknown = [name for name, found in summaries.items() if found is None]
    if unknown:
        raise ValueError(f"{unknown} are no data sets in COCO format whose json file exists.")
    names = {name: current_classes(name) for name in sets}
    report = check_sets(summaries, names, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.MODEL.MASK_ON)
    lines = ["# Report", ""]
    try:
        decided = set_data_keys(cfg, summaries, cfg.DATASETS.TRAIN, args.opts[::2])
        lines += [f"- {x}" for x in decided]
    except ValueError as error:
        report.error("config", str(error))

    classes = list(dict.fromkeys(x for s in summaries.values() for x in s.classes.values()))
    rows = [[x, *(s.objects[x] for s in summaries.values())] for x in classes]
    lines += ["", tabulate(rows, ["objects of class", *sets], tablefmt="github"), ""]

    sheets, seen = {}, {}
    for name in sets:
        records = load_usable(name, report)
        mapper = SCNetDatasetMapper(cfg, name in cfg.DATASETS.TRAIN)
        checked = check_image_files(records, mapper, report, seen)
        for _ in tqdm(checked, f"Reading {name}", len(records), unit="image"):
            pass
        sheets[name] = [r for r in records if is_drawable(r, report)]
    for title, messages in (("Errors", report.errors), ("Notes", report.notes)):
        lines += [f"## {title}: {sum(map(len, messages.values()))}", ""]
        lines += [f"- {message}" for message in shorten(messages)] + [""]
    print("\n".join(lines))

    if args.output:
        os.makedirs(args.output, exist_ok=True)
        write_report(lines, args.output)
        for name, records in sheets.items():
            chosen = choose(records, report, args.pictures)
            if chosen:
                file_name = f"{name.replace('/', '_')}.png"
                sheet = contact_sheet(chosen, names[name])
                visualization.write_rgb(os.path.join(args.output, file_name), sheet)
        print(f"The report and the pictures are in {args.output}.")
    return not any(report.errors.values())


if __name__ == "__main__":
    try:
        sys.exit(0 if main() else 1)
    except (OSError, ValueError) as error:
        sys.exit(f"check_dataset.py: {error}")
