"""The losses on the validation data, which the training takes no notice of."""

import random
from contextlib import contextmanager
from typing import Dict, Iterator, Optional

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, get_detection_dataset_dicts
from detectron2.data.detection_utils import build_augmentation
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..data.broken_images import BROKEN, EvaluationMapper
from ..data.datasets.catalog import set_reading
from ..data.datasets.loading import load_once_per_machine
from ..data.once_per_machine import taken
from ..data.workers import outlive_signals
from ..seeding import SAMPLE, seed_for

NAME = "validation_loss"
MAPS = {"stuffthingmaps": "sem_seg_file_name", "panoptic": "pan_seg_file_name"}


class ValidationLoss:
    """Computes the mean losses over the images of DATASETS.TEST.

    The images are resized as in tests, and not augmented. The regions that are sampled in an image
    are the same each time, so that the losses can be compared. Images that cannot be used are left
    out; the evaluation names them.
    """

    def __init__(self, cfg: CfgNode, precision: Optional[torch.dtype]):
        """Load the data sets.

        Args:
            cfg: of the training.
            precision: of mixed precision, None for none.

        Raises:
            ValueError: the semantic branch learns from maps, and an image has none.
        """
        names = list(cfg.DATASETS.TEST)
        set_reading(cfg, names)
        augmentations = build_augmentation(cfg, is_train=False)
        mapper = EvaluationMapper(
            cfg, is_train=True, augmentations=augmentations, recompute_boxes=False
        )
        records = load_once_per_machine(
            names, lambda: taken(get_detection_dataset_dicts(names, filter_empty=False))
        )
        source = cfg.MODEL.SCNET.SEMANTIC.SOURCE
        if source in MAPS and MAPS[source] not in records[0]:
            raise ValueError(
                f"TEST.LOSS True needs semantic maps of {names}: the semantic branch learns from "
                f"'{source}' (MODEL.SCNET.SEMANTIC.SOURCE), and there are none. Register the data "
                "with them (scnet.register_coco_json), or set TEST.LOSS False."
            )
        self.loader = build_detection_test_loader(
            records, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS
        )
        self.loader.worker_init_fn = outlive_signals
        self.precision = precision

    def __call__(self, model: nn.Module) -> Dict[str, float]:
        """Compute the losses of a model, which stays as it is; all processes call this.

        Returns:
            "validation_loss", the sum of all, and "validation_loss/NAME" for each; means over the
            images of all processes. Empty if no image can be used.
        """
        # The model's own call exchanges numbers among the processes, which may have different
        # numbers of images.
        losses_of = getattr(model, "losses", model)
        device = next(model.parameters()).device
        totals: Dict[str, float] = {}
        images = 0
        # What the model notes of a training step is thrown away with the storage.
        with as_in_training(model), random_numbers_kept(device), EventStorage(1), torch.no_grad():
            for batch in self.loader:
                if BROKEN in batch[0]:
                    continue
                seed_for(0, SAMPLE, 0)
                with torch.autocast(
                    device.type, self.precision, enabled=self.precision is not None
                ):
                    losses = losses_of(batch)
                images += 1
                for name, loss in losses.items():
                    totals[name] = totals.get(name, 0.0) + float(loss)
        parts = comm.all_gather((totals, images))
        images = sum(count for _, count in parts)
        if not images:
            return {}
        names = sorted({name for part, _ in parts for name in part})
        means = {
            f"{NAME}/{name}": sum(part.get(name, 0.0) for part, _ in parts) / images
            for name in names
        }
        return {NAME: sum(means.values()), **means}


@contextmanager
def as_in_training(model: nn.Module) -> Iterator[None]:
    """Within it a model gives losses, but its layers are those of the evaluation.

    The backbone, batch norm and dropout are in evaluation mode: statistics stay as they are, and
    nothing is dropped.
    """
    before = {module: module.training for module in model.modules()}
    model.train()
    for name, module in model.named_modules():
        of_backbone = name.split(".")[0] == "backbone"
        if of_backbone or isinstance(module, (_BatchNorm, _DropoutNd)):
            module.training = False
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@contextmanager
def random_numbers_kept(device: torch.device) -> Iterator[None]:
    """Within it the random generators may be seeded; afterwards they are as before."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])
