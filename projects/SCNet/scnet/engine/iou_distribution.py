"""Figure 1 of the paper: how well the boxes fit that reach the mask branch.

Three distributions of the IoU with ground truth, from one model: in training without sample
consistency, the positive samples of all box stages; in training with it, those of the last stage
alone; at inference, the final boxes.
"""

import csv
import json
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Dict, Iterable, List

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, BoxMode, pairwise_iou
from detectron2.structures.boxes import matched_pairwise_iou
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from matplotlib.figure import Figure
from tabulate import tabulate
from torch import Tensor, nn
from tqdm import tqdm

from ..data.broken_images import BROKEN, BrokenImageError
from ..modeling import SCNet
from ..modeling.cascade import Stage
from ..modeling.mask_branch import MaskBranch
from ..whole_files import whole_file
from .evaluation.load_for_evaluation import load_for_evaluation
from .trainer import Trainer

LOWEST = 0.5  # a box that overlaps less shows no object; it is background in training
THRESHOLDS = [0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
WITHOUT, WITH, INFERENCE = "training, all stages", "training, last stage", "inference"


def iou_distribution(
    cfg: CfgNode, folder: str, *, num_images: int, with_appended: bool = False
) -> str:
    """Collect the three distributions, and save them.

    Args:
        cfg: with the weights of the model, whose data sets are registered. The samples of training
            are collected over DATASETS.TRAIN, the final boxes over DATASETS.TEST.
        folder: see :func:`save`.
        num_images: of DATASETS.TRAIN, and of DATASETS.TEST; 1 or more.
        with_appended: see :func:`training_ious`.

    Returns:
        a table.

    Raises:
        ValueError: the model has no mask branch; or see :func:`load_for_evaluation`.
    """
    seed_all_rng(cfg.SEED if cfg.SEED >= 0 else None)
    model = load_for_evaluation(cfg)
    if not isinstance(model, SCNet):
        raise ValueError(
            "MODEL.META_ARCHITECTURE is not SCNet, so there is no mask branch of ours."
        )
    if not model.roi_heads.mask_on:
        raise ValueError("The model has no mask branch (MODEL.MASK_ON False).")
    # Inference first: batch norm whose statistics are not frozen changes them in training mode.
    loaders = [Trainer.build_test_loader(cfg, name) for name in cfg.DATASETS.TEST]
    tests = islice((batch for loader in loaders for batch in loader), num_images)
    images = tqdm(tests, "Inference", num_images, unit="image")
    inference = inference_ious(model, images, ground_truth(cfg.DATASETS.TEST))
    num_batches = -(-num_images // cfg.SOLVER.IMS_PER_BATCH)
    trains = islice(Trainer.build_train_loader(cfg), num_batches)
    batches = tqdm(trains, "Training samples", num_batches, unit="batch")
    ious = {**training_ious(model, batches, with_appended), INFERENCE: inference}
    return save(ious, Path(folder))


class SampleRecorder(nn.Module):
    """Takes the place of a mask branch in training: it learns nothing, and notes its samples.

    Attributes:
        ious: by box stage, the IoU of each positive sample with its object.
    """

    def __init__(self, branch: MaskBranch, with_appended: bool):
        """
        Args:
            branch: the mask branch.
            with_appended: whether to keep the samples that are ground truth; their IoU is 1.
        """
        super().__init__()
        self.interleaved = branch.interleaved
        self.num_classes = branch.num_classes
        self.with_appended = with_appended
        self.ious: Dict[int, List[np.ndarray]] = defaultdict(list)

    def losses(self, features: Dict[str, Tensor], stages: List[Stage]) -> Dict[str, Tensor]:
        """See :meth:`MaskBranch.losses`; there are none."""
        for k, stage in enumerate(stages):
            for p in stage.proposals:
                p = p[(p.gt_classes < self.num_classes) & (~p.is_gt | self.with_appended)]
                iou = matched_pairwise_iou(p.proposal_boxes, p.gt_boxes)
                self.ious[k].append(iou.cpu().numpy())
        return {}


@torch.no_grad()
def training_ious(
    model: SCNet, batches: Iterable[List[Dict]], with_appended: bool
) -> Dict[str, np.ndarray]:
    """The IoU of every positive sample of the mask branch with its object.

    Args:
        model: its weights do not change, but statistics of batch norm do, unless they are frozen.
        batches: of training inputs.
        with_appended: whether to keep the samples that are ground truth, whose IoU is 1. Where
            samples are few, they hide the rest.

    Returns:
        WITHOUT and WITH -> IoUs.
    """
    heads = model.roi_heads
    branch, recorder = heads.mask_branch, SampleRecorder(heads.mask_branch, with_appended)
    heads.mask_branch = recorder
    model.train()
    try:
        with EventStorage():
            for batch in batches:
                model(batch)
    finally:
        heads.mask_branch = branch
    ious = [np.concatenate(ious) for ious in recorder.ious.values()]
    return {WITHOUT: np.concatenate(ious), WITH: ious[-1]}


@torch.no_grad()
def inference_ious(
    model: SCNet, loader: Iterable[List[Dict]], objects: Dict[str, Boxes]
) -> np.ndarray:
    """The largest IoU of each final box with an object of its image.

    Args:
        loader: of test inputs.
        objects: file name -> ground-truth boxes in pixels of the original image.

    Returns:
        the IoUs of at least LOWEST.

    Raises:
        BrokenImageError: an image cannot be used.
    """
    model.eval()
    model.roi_heads.mask_on, mask_on = False, model.roi_heads.mask_on  # boxes are all we need
    ious = [np.zeros(0)]
    try:
        for batch in loader:
            for inputs, outputs in zip(batch, model(batch)):
                if BROKEN in inputs:
                    raise BrokenImageError({inputs["file_name"]: inputs[BROKEN]})
                boxes = outputs["instances"].pred_boxes.to("cpu")
                truth = objects[inputs["file_name"]]
                if len(boxes) and len(truth):
                    ious.append(pairwise_iou(boxes, truth).max(dim=1).values.numpy())
    finally:
        model.roi_heads.mask_on = mask_on
    all_ious = np.concatenate(ious)
    return all_ious[all_ious >= LOWEST]


def ground_truth(names: Iterable[str]) -> Dict[str, Boxes]:
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
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for name, counts in histograms.items():
        share = 100 * counts / max(counts.sum(), 1)
        axes.stairs(share, edges, label=f"{name} ({counts.sum()})", linewidth=2)
    axes.set(xlabel="IoU with ground truth", ylabel="share of the boxes (%)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)  # above the plot
    with whole_file(str(folder / "iou_distribution.png"), binary=True) as f:
        figure.savefig(f, dpi=150, bbox_inches="tight")
    with whole_file(str(folder / "histogram.csv"), newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["from", "to", *histograms])
        writer.writerows(zip(edges[:-1].round(2), edges[1:].round(2), *histograms.values()))
    with whole_file(str(folder / "ious.npz"), binary=True) as f:
        np.savez_compressed(f, **ious)  # type: ignore[arg-type]
    below = {name: percent_below(values) for name, values in ious.items()}
    with whole_file(str(folder / "below.json")) as f:
        json.dump({name: dict(zip(map(str, THRESHOLDS), v)) for name, v in below.items()}, f)
    rows = [[name, len(ious[name]), *values] for name, values in below.items()]
    head = ["IoU at most (% of the boxes)", "boxes", *map(str, THRESHOLDS)]
    table = tabulate(rows, head, tablefmt="github", floatfmt=".1f")
    with whole_file(str(folder / "below.md")) as f:
        f.write(table + "\n")
    return table
