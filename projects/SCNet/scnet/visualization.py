"""Pictures of what models find and of what data sets say."""

from functools import lru_cache
from typing import Dict, List, Optional, Sequence, Union

import cv2
import numpy as np
from detectron2.data.detection_utils import check_image_size
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import GenericMask, Visualizer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .whole_files import write_png

MIN_PICTURE_SIDE = 512  # pixels; pictures of smaller images are enlarged
COLORS = colormap(rgb=True, maximum=1)
CAPTION_HEIGHT = 32  # pixels
MARGIN = 4  # pixels, left and right of each panel


@lru_cache(maxsize=64)  # images of one width share their captions
def draw_caption(text: str, width: int) -> np.ndarray:
    """(CAPTION_HEIGHT, width, 3) uint8: the text in the middle, smaller if it is too long."""
    dpi = 100
    # Matplotlib cuts off fractions of pixels, so there is a little more than none.
    figure = Figure(((width + 0.01) / dpi, (CAPTION_HEIGHT + 0.01) / dpi), dpi)
    canvas = FigureCanvasAgg(figure)
    size = 14.0
    label = figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=size, parse_math=False)
    # The width is not proportional to the font size, as glyphs are fitted to pixels.
    while label.get_window_extent(canvas.get_renderer()).width > width - 2 * MARGIN and size > 1:
        size -= 0.5
        label.set_fontsize(size)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def add_caption(caption: str, picture: np.ndarray) -> np.ndarray:
    """A panel: a picture (H, W, 3) with its caption above and a margin at its sides."""
    panel = cv2.copyMakeBorder(
        picture, 0, 0, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    return np.concatenate([draw_caption(caption, panel.shape[1]), panel])


def draw_detections(
    pixels: np.ndarray, instances: Instances, names: List[str], color_by_class: bool = True
) -> np.ndarray:
    """Draw what a model has found; see :func:`draw_objects`.

    Args:
        instances: on the CPU, with ``pred_boxes``, ``pred_classes``, ``scores`` and perhaps
            ``pred_masks``, (R, H, W) bool or RLE.
        names: of the classes.
        color_by_class: False gives each instance a colour of its own.
    """
    masks = None
    if instances.has("pred_masks"):
        masks = [m if isinstance(m, dict) else m.numpy() for m in instances.pred_masks]
    classes, scores = instances.pred_classes.tolist(), instances.scores.tolist()
    labels = [f"{names[c]} {score:.0%}" for c, score in zip(classes, scores)]
    colors = classes if color_by_class else range(len(classes))
    return draw_objects(pixels, instances.pred_boxes, masks, colors, labels)


def draw_ground_truth(pixels: np.ndarray, record: Dict, names: List[str]) -> np.ndarray:
    """Draw the annotations of an image; see :func:`draw_objects`.

    Args:
        record: Detectron2's dict of the image.
        names: of the classes.

    Raises:
        SizeMismatchError: the image has another size than the record says.
    """
    check_image_size(record, pixels)
    objects = record["annotations"]
    boxes = [BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYXY_ABS) for x in objects]
    # There is a mask for each box or none at all: one object without makes all be boxes.
    masked = all("segmentation" in x for x in objects)
    masks = [x["segmentation"] for x in objects] if masked else None
    classes = [x["category_id"] for x in objects]
    labels = [names[x["category_id"]] + " (crowd)" * x.get("iscrowd", 0) for x in objects]
    return draw_objects(pixels, boxes, masks, classes, labels)


def draw_objects(
    pixels: np.ndarray,
    boxes: Union[Boxes, List[List[float]]],
    masks: Optional[Sequence],
    colors: Sequence[int],
    labels: List[str],
) -> np.ndarray:
    """Draw objects in an image.

    Args:
        pixels: (H, W, 3) uint8, BGR.
        boxes: x1, y1, x2, y2 in pixels per object.
        masks: per object a mask (H, W), an RLE or polygons; None draws boxes only.
        colors: index into COLORS per object.
        labels: per object.

    Returns:
        (h, w, 3) uint8, RGB; its size depends on that of the image only.
    """
    # Labels need room, so the picture of a small image is larger than the image.
    scale = max(1.0, MIN_PICTURE_SIDE / max(pixels.shape))
    visualizer = Visualizer(pixels[:, :, ::-1], scale=scale)
    colors = [COLORS[c % len(COLORS)] for c in colors]
    # Not by overlay_instances, which fills the holes of masks. Large ones go to the back.
    binary = [GenericMask(mask, *pixels.shape[:2]).mask for mask in masks or []]
    for k in sorted(range(len(binary)), key=lambda k: binary[k].sum(), reverse=True):
        visualizer.draw_binary_mask(binary[k], colors[k], area_threshold=0)
    return visualizer.overlay_instances(
        boxes=boxes, labels=labels, assigned_colors=colors
    ).get_image()


def write_rgb(file_name: str, picture: np.ndarray) -> None:
    """Write a picture, (H, W, 3) uint8, as a PNG; see :func:`scnet.whole_files.write_png`."""
    write_png(file_name, picture[:, :, ::-1])
