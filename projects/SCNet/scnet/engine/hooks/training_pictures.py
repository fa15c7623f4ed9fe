"""Pictures of a training for TensorBoard: what an image is labelled with, and what is found."""

from typing import Dict

import numpy as np
import torch
from detectron2.data.catalog import Metadata
from detectron2.engine import HookBase
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer

from ...image_kind import to_rgb
from ...modeling import SCNet
from ...modeling.run_length_masks import with_bitmaps
from ..step import StepTrainer

MAX_INSTANCES = 20


class TrainingPictures(HookBase):
    """Puts a picture of the labels and the predictions beside Detectron2's of the proposals.

    Both are of the first image of the batch. Only the main process has this hook.
    """

    def __init__(self, model: SCNet, step: StepTrainer, period: int):
        """
        Args:
            model: the one that is trained.
            step: trains it, and knows the last batch.
            period: steps between two pictures (VIS_PERIOD).
        """
        self.model = model
        self.step = step
        self.period = period

    def after_step(self) -> None:
        if self.trainer.iter % self.period:
            return
        example = self.step.last_batch[0]
        self.model.eval()
        with torch.no_grad():
            image = {"image": example["image"]}  # without its original size
            predictions = self.model.inference([image])[0]["instances"]
        self.model.train()
        picture = labels_and_predictions(
            example, predictions, self.model.input_format, self.model.metadata
        )
        self.trainer.storage.put_image("Left: labels; right: predictions", picture)


def labels_and_predictions(
    batched_input: Dict, predictions: Instances, image_format: str, metadata: Metadata
) -> np.ndarray:
    """Draw the image twice: on the left with its ground truth, on the right with predictions.

    Args:
        batched_input: a training input, with "image" (C, h, w) and "instances".
        predictions: for the image as it is in the input, best first; the best 20 are drawn.
        image_format: of an image of three channels, "RGB" or "BGR".
        metadata: has the names of the classes as far as they are known.

    Returns:
        uint8 (3, h, 2 w), RGB.
    """
    image = batched_input["image"].permute(1, 2, 0).cpu().numpy()
    image = to_rgb(image, image_format)
    truth = with_bitmaps(batched_input["instances"].to("cpu"))
    names = metadata.get("thing_classes")
    labelled = Visualizer(image, metadata).overlay_instances(
        boxes=truth.gt_boxes if len(truth) else None,
        masks=_bitmaps(truth) if len(truth) else None,
        labels=[names[k] if names else str(k) for k in truth.gt_classes.tolist()],
    )
    found = Visualizer(image, metadata).draw_instance_predictions(
        predictions[:MAX_INSTANCES].to("cpu")
    )
    pair = np.concatenate([labelled.get_image(), found.get_image()], axis=1)
    return pair.transpose(2, 0, 1)


def _bitmaps(truth: Instances):
    """Take the masks in a form that Visualizer knows; None without masks."""
    masks = truth.get_fields().get("gt_masks")
    return getattr(masks, "tensor", masks)
