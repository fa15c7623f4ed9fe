"""Pictures of what models find and of what data sets say."""

from functools import lru_cache
from typing import Dict, List, Optional, Sequence, Union

import cv2
import numpy as np
from detectron2.data.detection_utils import check_image_size
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import GenericMask, VisImage, Visualizer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pycocotools import mask as mask_util

from .image_kind import to_bgr
from .whole_files import write_png

MIN_PICTURE_SIDE = 512  # pixels; pictures of smaller images are enlarged
COLORS = colormap(rgb=True, maximum=1)
CAPTION_HEIGHT = 32  # pixels
MASK_ALPHA = 0.5  # how much of its colour a mask has
STRIPE = 2**20  # pixels that are laid over others at a time
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
        pixels: (H, W, C) of any kind, shown as :func:`scnet.image_kind.to_bgr` says.
        boxes: x1, y1, x2, y2 in pixels per object.
        masks: per object a mask (H, W), an RLE or polygons; None draws boxes only.
        colors: index into COLORS per object.
        labels: per object, drawn as they are.

    Returns:
        (h, w, 3) uint8, RGB; its size depends on that of the image only.
    """
    pixels = to_bgr(pixels)
    # Labels need room, so the picture of a small image is larger than the image.
    scale = max(1.0, MIN_PICTURE_SIDE / max(pixels.shape))
    visualizer = Visualizer(np.broadcast_to(np.uint8(0), pixels.shape), scale=scale)
    make_transparent(visualizer.output)
    shades = [COLORS[c % len(COLORS)] for c in colors]
    picture = pixels[:, :, ::-1].copy()
    # Not by overlay_instances, which fills the holes of masks. Large ones go to the back.
    rles = [to_rle(mask, *pixels.shape[:2]) for mask in masks or []]
    for k in sorted(range(len(rles)), key=lambda k: mask_util.area(rles[k]), reverse=True):
        draw_mask(visualizer, picture, rles[k], shades[k])
    labels = [label.replace("$", r"\$") for label in labels]  # Matplotlib would read formulas
    visualizer.overlay_instances(boxes=boxes, labels=labels, assigned_colors=shades)
    canvas = visualizer.output.canvas
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())
    if scale > 1:
        picture = enlarge(picture, scale, *drawn.shape[:2])
    lay_over(picture, drawn[:, :, :3], drawn[:, :, 3])
    return picture


def make_transparent(output: VisImage) -> None:
    """Take the image out of what Detectron2 draws on.

    Matplotlib would make several copies of it. What is drawn is laid over the image at the end.
    """
    [background] = output.ax.images
    background.set_data(np.zeros((1, 1, 3), np.uint8))  # the copy that it holds is given back
    background.remove()


def enlarge(picture: np.ndarray, scale: float, height: int, width: int) -> np.ndarray:
    """Enlarge a picture (H, W, 3) as Matplotlib does: (height, width, 3).

    Each pixel is a square of ``scale`` pixels. Matplotlib begins at the bottom left, and leaves out
    the part of a pixel that is too much at the top.
    """
    rows = (np.arange(height) + 0.5 + len(picture) * scale - height) / scale
    columns = (np.arange(width) + 0.5) / scale
    return picture[rows.astype(int)][:, columns.astype(int)]


def to_rle(mask: Union[np.ndarray, Dict, List], height: int, width: int) -> Dict:
    """Make an RLE of a mask of one of the kinds that Detectron2 draws."""
    if isinstance(mask, dict) and not isinstance(mask["counts"], list):
        return mask
    return mask_util.encode(np.asfortranarray(GenericMask(mask, height, width).mask))


def draw_mask(visualizer: Visualizer, picture: np.ndarray, rle: Dict, color: Sequence) -> None:
    """Draw a mask as Visualizer's ``draw_binary_mask`` does, without images of the whole size.

    Args:
        visualizer: gets the outlines of a mask without holes.
        picture: (H, W, 3) uint8, gets a mask with holes, which lies below all outlines.
        rle: the mask.
        color: red, green and blue from 0 to 1.
    """
    x, y, w, h = mask_util.toBbox(rle).astype(int)
    mask = np.ascontiguousarray(mask_util.decode(rle)[y : y + h, x : x + w])
    outlines, has_holes = GenericMask([], h, w).mask_to_polygons(mask)
    if has_holes:
        alpha = mask * np.uint8(MASK_ALPHA * 255)
        lay_over(picture[y : y + h, x : x + w], np.multiply(color, 255), alpha)
        return
    for outline in outlines:
        visualizer.draw_polygon(outline.reshape(-1, 2) + (x, y), color, alpha=MASK_ALPHA)


def lay_over(picture: np.ndarray, colors: np.ndarray, alpha: np.ndarray) -> None:
    """Lay colours over a picture, a few rows at a time.

    Args:
        picture: (H, W, 3) uint8, which is changed.
        colors: (H, W, 3) or (3,), from 0 to 255.
        alpha: (H, W) uint8, how much of the colour is seen; 255 is all.
    """
    colors = np.broadcast_to(colors, picture.shape)
    step = max(1, STRIPE // max(1, picture.shape[1]))
    for start in range(0, len(picture), step):
        rows = slice(start, start + step)
        if alpha[rows].any():
            part = alpha[rows, :, None] / np.float32(255)
            below = picture[rows].astype(np.float32)
            picture[rows] = np.rint(below + (colors[rows] - below) * part)


def write_rgb(file_name: str, picture: np.ndarray) -> None:
    """Write a picture, (H, W, 3) uint8, as a PNG; see :func:`scnet.whole_files.write_png`."""
    write_png(file_name, picture[:, :, ::-1])
