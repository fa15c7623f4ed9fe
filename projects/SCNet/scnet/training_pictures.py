"""Pictures of a training: what an image is labelled with, and what is found in it."""

from typing import Dict, List

import numpy as np
from detectron2.data.catalog import Metadata
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer

MAX_INSTANCES = 20


def labels_and_predictions(
    batched_input: Dict, predictions: Instances, image_format: str, metadata: Metadata
) -> np.ndarray:
    """The image twice: on the left with its ground truth, on the right with predictions.

    Args:
        batched_input: a training input, with "image" (3, h, w) and "instances".
        predictions: for the image as it is in the input, best first; the best 20 are drawn.
        image_format: of the image, "RGB" or "BGR".
        metadata: has the names of the classes as far as they are known.

    Returns:
        uint8 (3, h, 2 w), RGB.
    """
    image = batched_input["image"].permute(1, 2, 0).cpu().numpy()
    image = convert_image_to_rgb(image, image_format).clip(0, 255).astype(np.uint8)
    truth = batched_input["instances"].to("cpu")
    names = metadata.get("thing_classes")
    labelled = Visualizer(image, metadata).overlay_instances(
        boxes=truth.gt_boxes if len(truth) else None,
        masks=_bitmaps(truth) if len(truth) else None,
        labels=[names[k] if names else str(k) for k in truth.gt_classes.tolist()],
    )
    found = Visualizer(image, metadata).draw_instance_predictions(
        predictions[:MAX_INSTANCES].to("cpu")
    )
    pictures: List[np.ndarray] = [labelled.get_image(), found.get_image()]
    return np.concatenate(pictures, axis=1).transpose(2, 0, 1)


def _bitmaps(truth: Instances):
    """The masks as Visualizer takes them, or None without masks."""
    masks = truth.get_fields().get("gt_masks")
    return getattr(masks, "tensor", masks)
