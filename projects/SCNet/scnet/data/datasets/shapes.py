"""Generating the built-in data set: shapes over textured ground, always the same.

It is made when it is first used. It is in COCO format with a semantic map per image, like COCO
with its stuff maps, so it goes through the same code. Five thing classes differ in outline;
texture, size, rotation and occlusion are drawn at random for each object, and colour is no more
than a hint. Four stuff classes are textures of the ground.
"""

import json
import os
import shutil
from dataclasses import dataclass
from typing import Dict, Iterator, List, Sequence, Tuple

import cv2
import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import file_lock, get_cache_dir
from pycocotools import mask as mask_util
from tqdm import tqdm

from ...whole_files import whole_file, write_png
from ..content import AS_IT_IS
from .loading import CocoDataset

THING_CLASSES = ("disk", "rectangle", "triangle", "star", "ring")
STUFF_CLASSES = ("stripes", "checkerboard", "clouds", "slope")
IGNORE = 255
NUM_IMAGES = {"train": 1000, "val": 100}
SIDES = (128, 160, 192)  # heights and widths in pixels
MAX_OBJECTS = 6
DIAMETERS = (24, 100)  # pixels
MIN_VISIBLE = 0.4  # of an object's area; objects hidden more than that are left out
VERSION = 1  # goes up whenever the pictures change


def register_all() -> None:
    """Register scnet_shapes_train and scnet_shapes_val; nothing is generated yet."""
    for split in NUM_IMAGES:
        name = f"scnet_shapes_{split}"
        root = os.path.join(get_cache_dir(), "scnet", f"shapes_v{VERSION}")
        files = {
            "json_file": os.path.join(root, "annotations", f"instances_{split}.json"),
            "image_root": os.path.join(root, split),
            "sem_seg_root": os.path.join(root, "stuffthingmaps", split),
        }
        MetadataCatalog.get(name).set(
            thing_classes=list(THING_CLASSES),
            stuff_classes=list(THING_CLASSES + STUFF_CLASSES),
            evaluator_type="coco",
            reading=AS_IT_IS,
            **files,
        )
        DatasetCatalog.register(name, _Shapes(name, root=root, **files))


@dataclass(frozen=True)
class _Shapes(CocoDataset):
    """Loads the images in the folder ``root``, which are generated first."""

    root: str = ""

    def stream(self) -> Iterator[Dict]:
        generate(self.root)
        return super().stream()


def generate(root: str, num_images: Dict[str, int] = NUM_IMAGES) -> None:
    """Write the data set into the folder ``root``, unless it is there already.

    The folder appears when it is complete, so an interrupted call leaves no half of it.
    """
    PathManager.mkdirs(os.path.dirname(root))
    with file_lock(root):  # several processes may start at once
        if os.path.isdir(root):
            return
        temporary = f"{root}.part"  # not of tempfile, whose folders nobody else may read
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        os.mkdir(temporary)
        try:
            for split, count in num_images.items():
                _generate_split(temporary, split, count)
            os.rename(temporary, root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _generate_split(root: str, split: str, count: int) -> None:
    """Write the images, the semantic maps and the json of one split."""
    folders = [os.path.join(root, split), os.path.join(root, "stuffthingmaps", split)]
    for folder in [*folders, os.path.join(root, "annotations")]:
        os.makedirs(folder, exist_ok=True)
    images: List[Dict] = []
    annotations: List[Dict] = []
    for i in tqdm(range(count), desc=f"Generating the data set of shapes ({split})"):
        seed = [VERSION, list(NUM_IMAGES).index(split), i]
        image, sem_seg, masks, classes = make_image(np.random.default_rng(seed))
        name = f"{i:06d}.png"
        write_png(os.path.join(folders[0], name), image)
        write_png(os.path.join(folders[1], name), sem_seg)
        height, width = sem_seg.shape
        images.append({"id": i, "file_name": name, "height": height, "width": width})
        for mask, category in zip(masks, classes):
            rle = mask_util.encode(np.asfortranarray(mask))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": category + 1,
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "bbox": mask_util.toBbox(rle).tolist(),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(THING_CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    with whole_file(os.path.join(root, "annotations", f"instances_{split}.json")) as f:
        json.dump(content, f)


def make_image(
    rng: np.random.Generator,
) -> Tuple[np.ndarray, np.ndarray, List[np.ndarray], List[int]]:
    """Draw one image.

    Returns:
        image (H, W, 3) uint8 BGR; semantic map (H, W) uint8, thing classes first, then stuff,
        IGNORE along the border between two grounds; per object its visible mask (H, W) uint8 and
        its class.
    """
    height, width = (int(rng.choice(SIDES)) for _ in range(2))
    image, sem_seg = _ground(rng, height, width)

    outlines, classes = [], []
    for _ in range(int(rng.integers(1, MAX_OBJECTS + 1))):
        classes.append(int(rng.integers(len(THING_CLASSES))))
        outlines.append(_outline(rng, THING_CLASSES[classes[-1]], height, width))
    visible, covered = [], np.zeros((height, width), np.uint8)
    for outline in reversed(outlines):  # from the front to the back
        seen = outline & (1 - covered)
        if seen.sum() < max(MIN_VISIBLE * outline.sum(), 30):
            seen = np.zeros_like(seen)  # too little is left of it: it is not drawn at all
        visible.append(seen)
        covered |= seen
    shown = [(m, c) for m, c in zip(reversed(visible), classes) if m.any()]

    for mask, category in shown:
        kind = str(rng.choice(["plain", *STUFF_CLASSES], p=[0.6, 0.1, 0.1, 0.1, 0.1]))
        hue = _hue(rng, category, THING_CLASSES)
        texture = _texture(rng, kind, hue, (130, 255), height, width)
        image[mask > 0] = texture[mask > 0]
        sem_seg[mask > 0] = category
    image = cv2.GaussianBlur(image, (3, 3), 0.7).astype(np.float32)
    image += rng.normal(0, rng.uniform(2, 8), image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    return image, sem_seg, [m for m, _ in shown], [c for _, c in shown]


def _ground(rng: np.random.Generator, height: int, width: int) -> Tuple[np.ndarray, np.ndarray]:
    """Draw two dull textures, divided by a slanting line.

    Returns:
        image (H, W, 3) uint8 BGR, and semantic map (H, W) uint8.
    """
    first, second = rng.choice(len(STUFF_CLASSES), 2, replace=False)
    y, x = np.mgrid[:height, :width]
    angle = rng.uniform(0, np.pi)
    distance = (x - width * rng.uniform(0.2, 0.8)) * np.cos(angle)
    distance += (y - height * rng.uniform(0.2, 0.8)) * np.sin(angle)
    side = distance > 0
    image, other = (
        _texture(rng, STUFF_CLASSES[k], _hue(rng, k, STUFF_CLASSES), (20, 90), height, width)
        for k in (first, second)
    )
    image[side] = other[side]
    sem_seg = np.where(side, second, first) + len(THING_CLASSES)
    sem_seg[np.abs(distance) < 2] = IGNORE
    return image, sem_seg.astype(np.uint8)


def _hue(rng: np.random.Generator, category: int, classes: Sequence[str]) -> float:
    """Choose a hue in [0, 180), as OpenCV counts them.

    Half of the time it is near that of the class, so that colour is a hint; else it is any.
    """
    if rng.random() < 0.5:
        return rng.uniform(0, 180)
    return (180 * category / len(classes) + rng.normal(0, 8)) % 180


def _texture(
    rng: np.random.Generator,
    kind: str,
    hue: float,
    saturation: Tuple[int, int],
    height: int,
    width: int,
) -> np.ndarray:
    """Draw a pattern of two shades of one hue, (H, W, 3) uint8 BGR."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 24)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if kind == "stripes":
        mix = (u // period) % 2
    elif kind == "checkerboard":
        mix = (u // period + v // period) % 2
    elif kind == "clouds":
        coarse = rng.random((int(height / period) + 2, int(width / period) + 2), np.float32)
        mix = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    elif kind == "slope":
        mix = (u - u.min()) / (u.max() - u.min())
    else:
        mix = np.zeros((height, width))
    dark, contrast = rng.uniform(60, 170), rng.uniform(30, 80)
    hsv = np.empty((height, width, 3), np.uint8)
    hsv[..., 0] = int(hue)
    hsv[..., 1] = int(rng.uniform(*saturation))
    hsv[..., 2] = np.clip(dark + contrast * mix, 0, 255)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def _outline(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """Draw a shape of random size, place and rotation: (H, W) uint8, 1 inside it."""
    radius = np.exp(rng.uniform(*np.log(DIAMETERS))) / 2
    centre = rng.uniform(0.05, 0.95, 2) * (width, height)
    turn = rng.uniform(0, 2 * np.pi)
    mask = np.zeros((height, width), np.uint8)
    if kind in ("disk", "ring"):
        _fill(mask, centre, _star_points(64, 1, 1, turn) * radius, 1)
        if kind == "ring":
            _fill(mask, centre, _star_points(64, 1, 1, turn) * radius * rng.uniform(0.45, 0.6), 0)
    elif kind == "rectangle":
        sides = np.array([1, rng.uniform(0.5, 1)])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * sides / np.hypot(*sides)
        _fill(mask, centre, _rotate(corners, turn) * radius, 1)
    elif kind == "triangle":
        _fill(mask, centre, _star_points(3, 1, 1, turn) * radius, 1)
    elif kind == "star":
        _fill(mask, centre, _star_points(10, 1, rng.uniform(0.4, 0.5), turn) * radius, 1)
    return mask


def _star_points(count: int, outer: float, inner: float, turn: float) -> np.ndarray:
    """Place ``count`` points around the origin, alternately at two distances: (count, 2)."""
    angles = turn + np.arange(count) * 2 * np.pi / count
    distances = np.where(np.arange(count) % 2, inner, outer)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * distances[:, None]


def _rotate(points: np.ndarray, turn: float) -> np.ndarray:
    """Rotate points (N, 2) around the origin."""
    cos, sin = np.cos(turn), np.sin(turn)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _fill(mask: np.ndarray, centre: np.ndarray, points: np.ndarray, value: int) -> None:
    """Fill a polygon whose corners are precise to a sixteenth of a pixel."""
    cv2.fillPoly(mask, [np.round((points + centre) * 16).astype(np.int32)], value, shift=4)
