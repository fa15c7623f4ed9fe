"""Pictures of an image's labels and of what was found in it, inside the page."""

import base64
import os
from dataclasses import dataclass
from typing import Dict, Sequence, Tuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, BoxMode, Instances

from ...data.broken_images import UNUSABLE
from ...data.image import check_size, read_image
from ...data.image_names import find_images
from ...image_kind import ImageKind
from ...visualization import draw_detections, draw_ground_truth, to_rle
from .matching import ImageOutcome

SIDE = 640  # pixels, the longer side of a picture
QUALITY = 80  # of its JPEG, from 0 to 100


@dataclass
class Pair:
    """Labels and prediction of an image.

    Attributes:
        file_name: of the image.
        outcome: how well it went.
        label, prediction: addresses that hold the pictures; empty if they cannot be drawn.
        problem: why they cannot.
    """

    file_name: str
    outcome: ImageOutcome
    label: str = ""
    prediction: str = ""
    problem: str = ""


def draw_pair(
    outcome: ImageOutcome,
    entry: Dict,
    image_root: str,
    objects: Sequence[Dict],
    detections: Sequence[Dict],
    names: Sequence[str],
    cfg: CfgNode,
) -> Pair:
    """Draw the objects of an image, and what was found in it.

    Args:
        outcome: of the image.
        entry: of the image in the json.
        image_root: the folder of the images.
        objects, detections: in COCO's formats; their categories are numbered from 1 on.
        names: of the classes.
        cfg: says what the images are like.
    """
    [entry] = find_images([entry], image_root).images
    pair = Pair(entry["file_name"], outcome)
    path = os.path.join(image_root, entry["file_name"])
    try:
        pixels = read_image(path, max_pixels=cfg.INPUT.MAX_PIXELS, kind=ImageKind.of(cfg))
        check_size(path, pixels.shape[:2], (entry["height"], entry["width"]))
    except UNUSABLE as error:
        pair.problem = str(error)
        return pair
    pair.label = _embed(draw_ground_truth(pixels, _record(objects), list(names)))
    found = _instances(pixels.shape[:2], detections)
    pair.prediction = _embed(draw_detections(pixels, found, list(names)))
    return pair


def _record(objects: Sequence[Dict]) -> Dict:
    """Objects in COCO's format as Detectron2's dict of their image has them."""
    annotations = [
        {**x, "bbox_mode": BoxMode.XYWH_ABS, "category_id": x["category_id"] - 1} for x in objects
    ]
    for x in annotations:
        if not x.get("segmentation"):  # objects with boxes only may have an empty one
            x.pop("segmentation", None)
    return {"annotations": annotations}


def _instances(size: Tuple[int, int], detections: Sequence[Dict]) -> Instances:
    """Detections in COCO's result format as instances of an image of this height and width."""
    boxes = torch.tensor([x["bbox"] for x in detections]).reshape(-1, 4)
    found = Instances(size)
    found.pred_boxes = Boxes(BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))
    found.pred_classes = torch.tensor([x["category_id"] - 1 for x in detections]).long()
    found.scores = torch.tensor([x["score"] for x in detections])
    if all(x.get("segmentation") for x in detections):
        found.pred_masks = [to_rle(x["segmentation"], *size) for x in detections]
    return found


def _embed(picture: np.ndarray) -> str:
    """Make an address that holds the picture, (h, w, 3) RGB, as a small JPEG."""
    scale = min(1.0, SIDE / max(picture.shape))
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[:, :, ::-1]
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"
