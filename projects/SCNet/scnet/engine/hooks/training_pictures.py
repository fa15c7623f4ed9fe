"""Pictures of a training for TensorBoard: what an image is labelled with, and what is found."""

from typing import Dict

import numpy as np
import torch
from detectron2.data.catalog import Metadata
from detectron2.engine import HookBase
from detectron2.structures import Instances

from ...image_kind import to_rgb
from ...lettering import drawable_names
from ...modeling import SCNet
from ...modeling.run_length_masks import with_bitmaps
from ...visualization import draw_detections, draw_objects
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
        batched_input: a training input, with "image" (C, H, W) and "instances".
        predictions: for the image as it is in the input, best first; the best 20 are drawn.
        image_format: of an image of three channels, "RGB" or "BGR".
        metadata: has the names of the classes as far as they are known.

    Returns:
        uint8 (3, h, 2 w), RGB; the size of a half is that of :func:`draw_objects`.
    """
    image = batched_input["image"].permute(1, 2, 0).cpu().numpy()
    pixels = to_rgb(image, image_format)[:, :, ::-1]
    truth, found = batched_input["instances"].to("cpu"), predictions[:MAX_INSTANCES].to("cpu")
    names = metadata.get("thing_classes")
    if not names:
        known = torch.cat([truth.gt_classes, found.pred_classes]).tolist()
        names = [str(k) for k in range(max(known, default=0) + 1)]
    shown = drawable_names(names)
    masks = _bitmaps(with_bitmaps(truth))
    classes = truth.gt_classes.tolist()
    labels = [shown[k] for k in classes]
    labelled = draw_objects(pixels, truth.gt_boxes, masks, classes, labels)
    pair = np.concatenate([labelled, draw_detections(pixels, found, names)], axis=1)
    return pair.transpose(2, 0, 1)


def _bitmaps(truth: Instances):
    """Take the masks in a form that can be drawn; None without masks."""
    masks = truth.get_fields().get("gt_masks")
    tensor = getattr(masks, "tensor", None)
    return getattr(masks, "polygons", None) if tensor is None else tensor.numpy()
