#!/usr/bin/env python
"""Figure 1 of the paper: how well do the boxes fit that reach the mask branch?

    python projects/SCNet/tools/iou_distribution.py --config-file C --output FOLDER \
        --opts MODEL.WEIGHTS path/to/model.pth

Three distributions of the IoU with ground truth, from one model:
- training without sample consistency: the positive samples of all box stages,
- training with it: those of the last stage alone,
- inference: the final boxes.
The first two are collected over DATASETS.TRAIN with the model in training mode, the last over
DATASETS.TEST. Ground truth that is appended to the training samples fits perfectly and hides the
rest where samples are few; it is left out unless it is asked for.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Dict, List

import matplotlib
import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, BoxMode, pairwise_iou
from detectron2.structures.boxes import matched_pairwise_iou
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from tabulate import tabulate
from torch import nn
from tqdm import tqdm

from scnet.config import read_cfg
from scnet.engine import Trainer, configure_data, load_for_evaluation

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - after the choice of its backend

LOWEST = 0.5  # a box that overlaps less shows no object; it is background in training
THRESHOLDS = [0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
WITHOUT, WITH, INFERENCE = "training, all stages", "training, last stage", "inference"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, metavar="FOLDER")
    parser.add_argument(
        "--num-images", type=int, default=1000, help="of each data set (default: %(default)s)"
    )
    parser.add_argument(
        "--with-appended", action="store_true", help="keep ground truth among the samples"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier result")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config, last"
    )
    return parser.parse_args()


@torch.no_grad()
def training_ious(model: nn.Module, batches, with_appended: bool) -> Dict[str, np.ndarray]:
    """IoU of every positive sample of the mask branch with its object.

    Args:
        model: of the class SCNet. Its weights do not change, but statistics of batch norm do,
            unless they are frozen.
        batches: of training inputs.
        with_appended: whether to keep the samples that are ground truth; their IoU is 1.

    Returns:
        WITHOUT and WITH -> IoUs.
    """
    branch, per_stage = model.roi_heads.mask_branch, defaultdict(list)

    def record(features, stages):
        for k, stage in enumerate(stages):
            for p in stage.proposals:
                p = p[(p.gt_classes < branch.num_classes) & (~p.is_gt | with_appended)]
                iou = matched_pairwise_iou(p.proposal_boxes, p.gt_boxes)
                per_stage[k].append(iou.cpu().numpy())
        return {}

    model.train()
    branch.losses = record  # shadows the method on this object alone
    try:
        with EventStorage():
            for batch in batches:
                model(batch)
    finally:
        del branch.losses
    ious = [np.concatenate(ious) for ious in per_stage.values()]
    return {WITHOUT: np.concatenate(ious), WITH: ious[-1]}


@torch.no_grad()
def inference_ious(model: nn.Module, loader, objects: Dict[str, Boxes]) -> np.ndarray:
    """The largest IoU of each final box with an object of its image.

    Args:
        loader: of test inputs.
        objects: file name -> ground-truth boxes in pixels of the original image.

    Returns:
        the IoUs of at least LOWEST.
    """
    model.eval()
    model.roi_heads.mask_on, mask_on = False, model.roi_heads.mask_on  # boxes are all we need
    ious = [np.zeros(0)]
    try:
        for batch in loader:
            for inputs, outputs in zip(batch, model(batch)):
                boxes = outputs["instances"].pred_boxes.to("cpu")
                truth = objects[inputs["file_name"]]
                if len(boxes) and len(truth):
                    ious.append(pairwise_iou(boxes, truth).max(dim=1).values.numpy())
    finally:
        model.roi_heads.mask_on = mask_on
    ious = np.concatenate(ious)
    return ious[ious >= LOWEST]


def ground_truth(names: List[str]) -> Dict[str, Boxes]:
    """File name -> boxes of the objects that are no crowd, in pixels of the original image."""
    objects = {}
    for record in (r for name in names for r in DatasetCatalog.get(name)):
        boxes = [
            BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS)
            for a in record["annotations"]
            if not a.get("iscrowd", 0)
        ]
        objects[record["file_name"]] = Boxes(torch.tensor(boxes).reshape(-1, 4))
    return objects


def percent_below(ious: np.ndarray) -> List[float]:
    """The percentage of the IoUs at or below each of THRESHOLDS."""
    return [100 * float((ious <= t).mean()) if len(ious) else float("nan") for t in THRESHOLDS]


def save(ious: Dict[str, np.ndarray], folder: Path) -> str:
    """Write plot, table, histogram and all numbers into ``folder``; returns the table."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(LOWEST, 1, 26)
    histograms = {name: np.histogram(values, edges)[0] for name, values in ious.items()}
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, counts in histograms.items():
        share = 100 * counts / max(counts.sum(), 1)
        axes.stairs(share, edges, label=f"{name} ({counts.sum()})", linewidth=2)
    axes.set(xlabel="IoU with ground truth", ylabel="share of the boxes (%)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)  # above the plot
    figure.savefig(folder / "iou_distribution.png", dpi=150, bbox_inches="tight")
    plt.close(figure)
    with open(folder / "histogram.csv", "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["from", "to", *histograms])
        writer.writerows(zip(edges[:-1].round(2), edges[1:].round(2), *histograms.values()))
    np.savez_compressed(folder / "ious.npz", **ious)
    below = {name: percent_below(values) for name, values in ious.items()}
    with open(folder / "below.json", "w") as f:
        json.dump({name: dict(zip(map(str, THRESHOLDS), v)) for name, v in below.items()}, f)
    rows = [[name, len(ious[name]), *values] for name, values in below.items()]
    head = ["IoU at most (% of the boxes)", "boxes", *map(str, THRESHOLDS)]
    table = tabulate(rows, head, tablefmt="github", floatfmt=".1f")
    (folder / "below.md").write_text(table + "\n")
    return table


def main() -> None:
    args = parse_args()
    cfg = read_cfg(args.config_file, args.opts)
    configure_data(cfg, args.opts[::2])
    folder = Path(args.output)
    if (folder / "below.json").exists() and not args.overwrite:
        raise FileExistsError(f"'{folder}' has a result already. Add --overwrite to replace it.")

    seed_all_rng(cfg.SEED if cfg.SEED >= 0 else None)
    model = load_for_evaluation(cfg)
    if not model.roi_heads.mask_on:
        raise ValueError("The model has no mask branch (MODEL.MASK_ON False).")
    # Inference first: batch norm whose statistics are not frozen changes them in training mode.
    loaders = [Trainer.build_test_loader(cfg, name) for name in cfg.DATASETS.TEST]
    images = islice((batch for loader in loaders for batch in loader), args.num_images)
    images = tqdm(images, "Inference", args.num_images, unit="image")
    inference = inference_ious(model, images, ground_truth(cfg.DATASETS.TEST))
    num_batches = -(-args.num_images // cfg.SOLVER.IMS_PER_BATCH)
    batches = islice(Trainer.build_train_loader(cfg), num_batches)
    batches = tqdm(batches, "Training samples", num_batches, unit="batch")
    ious = {**training_ious(model, batches, args.with_appended), INFERENCE: inference}
    print(save(ious, folder))
    print(f"Plot, histogram and numbers: {folder}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"iou_distribution.py: {error}")
