"""Pictures of an image's labels and of what was found in it, inside the page."""

import base64
import os
from dataclasses import dataclass
from typing import Dict, List, Sequence

import cv2
import numpy as np
from detectron2.config import CfgNode

from ...data.broken_images import UNUSABLE
from ...data.image import check_size, read_image
from ...data.image_names import find_images
from ...image_kind import ImageKind
from ...lettering import drawable_names
from ...visualization import draw_objects
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
    names = drawable_names(names)
    label_of = [names[x["category_id"] - 1] + " (crowd)" * x.get("iscrowd", 0) for x in objects]
    found = [f"{names[x['category_id'] - 1]} {x['score']:.2f}" for x in detections]
    pair.label = _embed(_draw(pixels, objects, label_of))
    pair.prediction = _embed(_draw(pixels, detections, found))
    return pair


def _draw(pixels: np.ndarray, objects: Sequence[Dict], labels: List[str]) -> np.ndarray:
    """(H, W, 3) BGR -> (h, w, 3) RGB."""
    boxes = [[x, y, x + w, y + h] for x, y, w, h in (x["bbox"] for x in objects)]
    masked = all(x.get("segmentation") for x in objects)
    masks = [x["segmentation"] for x in objects] if masked else None
    return draw_objects(pixels, boxes, masks, [x["category_id"] - 1 for x in objects], labels)


def _embed(picture: np.ndarray) -> str:
    """Make an address that holds the picture, (h, w, 3) RGB, as a small JPEG."""
    scale = min(1.0, SIDE / max(picture.shape))
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[:, :, ::-1]
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"
