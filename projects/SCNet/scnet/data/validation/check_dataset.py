"""All checks of the data sets of a config: a report, and a contact sheet per set."""

import os
from typing import Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from detectron2.config import CfgNode
from tabulate import tabulate
from tqdm import tqdm

from ... import visualization
from ...image_kind import COLOUR, ImageKind
from ...overwrite import refuse_to_replace
from ...whole_files import whole_file
from ..config_from_data import set_data_keys
from ..datasets.catalog import current_classes, summarize
from ..datasets.loading import load_usable
from ..image import read_image
from ..mapper import SCNetDatasetMapper
from ..object_sizes import notes_on_sizes
from ..once_per_machine import PackedList
from ..own_data import register_datasets
from .check_image_files import check_image_files
from .check_sets import check_sets
from .report import Report, shorten

CELL = 400  # pixels, the sides of a picture in the contact sheet
COLUMNS = 4


def check_datasets(
    cfg: CfgNode,
    keep: Sequence[str] = (),
    *,
    folder: Optional[str] = None,
    pictures: int = 24,
    overwrite: bool = False,
) -> bool:
    """Read the data sets of a config as training would, and print what is wrong with them.

    Args:
        cfg: its DATASETS are registered, and it is changed as training would change it.
        keep: keys that do not follow from the data.
        folder: gets report.md and the contact sheets.
        pictures: on each contact sheet.
        overwrite: replace a report that exists.

    Returns:
        whether the data is fit for training.

    Raises:
        FileExistsError: there is a report, and ``overwrite`` is False.
        ValueError: a data set is not in COCO format; or see :func:`register_datasets`.
    """
    if folder and not overwrite:
        refuse_to_replace([os.path.join(folder, "report.md")])
    register_datasets(cfg)
    sets = list(dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]))
    if not sets:
        raise ValueError("There is no data to check. Give --train-json and --train-images.")
    found = {name: summarize(name) for name in sets}
    summaries = {name: s for name, s in found.items() if s is not None}
    if len(summaries) < len(sets):
        unknown = [name for name in sets if name not in summaries]
        raise ValueError(f"{unknown} are no data sets in COCO format whose json file exists.")
    names = {name: current_classes(name) for name in sets}
    options = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.MODEL.MASK_ON
    report = check_sets(summaries, names, *options, cfg.TEST.DETECTIONS_PER_IMAGE)
    lines = ["# Report", ""]
    try:
        decisions = set_data_keys(cfg, summaries, cfg.DATASETS.TRAIN, keep)
        lines += [f"- {x}" for x in decisions]
    except ValueError as error:
        report.error("config", str(error))
        if cfg.MODEL.SCNET.SEMANTIC.SOURCE == "instances":
            # Nothing is read for it, and there may be no room for its classes.
            cfg.MODEL.SCNET.SEMANTIC.SOURCE = "none"

    classes = list(dict.fromkeys(x for s in summaries.values() for x in s.classes.values()))
    rows = [[x, *(s.objects[x] for s in summaries.values())] for x in classes]
    if rows:
        head = ["objects of class", *sets]
        lines += ["", tabulate(rows, head, tablefmt="github", disable_numparse=[0])]
    lines.append("")

    sheets: Dict[str, Tuple[PackedList, List[int]]] = {}
    seen: Dict[bytes, str] = {}
    for name in sets:
        records = load_usable(name, report)
        mapper = SCNetDatasetMapper(cfg, name in cfg.DATASETS.TRAIN)
        if name in cfg.DATASETS.TRAIN:
            for note in notes_on_sizes(cfg, records, mapper.augmentations):
                report.note("sizes of objects", note)
        checked = check_image_files(records, mapper, report, seen)
        bar = tqdm(checked, f"Reading {name}", len(records), unit="image")
        sheets[name] = records, [k for k, (_, drawable) in enumerate(bar) if drawable]
    for title, messages in (("Errors", report.errors), ("Notes", report.notes)):
        lines += [f"## {title}: {sum(map(len, messages.values()))}", ""]
        lines += [f"- {message}" for message in shorten(messages)] + [""]
    print("\n".join(lines))

    if folder:
        os.makedirs(folder, exist_ok=True)
        with whole_file(os.path.join(folder, "report.md")) as f:
            f.write("\n".join(lines) + "\n")
        for name, (records, drawable) in sheets.items():
            paths = [records[k]["file_name"] for k in drawable]
            chosen = [records[drawable[k]] for k in choose(paths, report, pictures)]
            if chosen:
                file_name = f"{name.replace('/', '_')}.png"
                sheet = contact_sheet(chosen, names[name], cfg.INPUT.MAX_PIXELS, ImageKind.of(cfg))
                visualization.write_rgb(os.path.join(folder, file_name), sheet)
        print(f"The report and the pictures are in {folder}.")
    return not any(report.errors.values())


def contact_sheet(
    records: List[Dict], names: List[str], max_pixels: int, kind: ImageKind = COLOUR
) -> np.ndarray:
    """Images with their annotations, one picture (H, W, 3) of all.

    Args:
        records: Detectron2's dicts of the images.
        names: of the classes.
        max_pixels, kind: see :func:`scnet.data.read_image`.
    """
    cells = []
    for record in records:
        pixels = read_image(record["file_name"], max_pixels=max_pixels, kind=kind)
        picture = visualization.draw_ground_truth(pixels, record, names)
        scale = CELL / max(picture.shape)
        size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
        cell = np.full((CELL, CELL, 3), 255, np.uint8)
        cell[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        cells.append(visualization.add_caption(os.path.basename(record["file_name"]), cell))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % COLUMNS)
    rows = [np.concatenate(cells[k : k + COLUMNS], 1) for k in range(0, len(cells), COLUMNS)]
    return np.concatenate(rows)


def choose(paths: List[str], report: Report, count: int) -> List[int]:
    """Images for the contact sheet: those that a note is about first, then some of the others.

    Returns:
        their places among the paths.
    """
    noted = [k for k, path in enumerate(paths) if path in report.noted_images]
    others = [k for k, path in enumerate(paths) if path not in report.noted_images]
    step = max(1, len(others) // max(1, count - len(noted)))
    return (noted + others[::step])[:count]
