"""One small data set, written in the formats of labelling tools as these document them.

Images of 40 x 60 pixels (height x width): "a.png" with a cat and a dog, "b.png" with a dog, and
"c.png" with nothing.
"""

import base64
import io
import json
from pathlib import Path
from typing import Dict, List

import numpy as np
from PIL import Image
from pycocotools import mask as mask_util

from scnet.data.importing.voc import PALETTE

HEIGHT, WIDTH = 40, 60
CAT = [2, 3, 22, 3, 26.5, 9, 22, 13, 2, 13]
DOG = [30, 14, 52, 16, 50, 37, 34.5, 38]
SMALL_DOG = [10, 8, 40, 8, 40, 30, 25, 22, 10, 30]
OBJECTS: Dict[str, List] = {
    "a.png": [("cat", CAT), ("dog", DOG)],
    "b.png": [("dog", SMALL_DOG)],
    "c.png": [],
}
CLASSES = ["cat", "dog"]


def points(polygon) -> List:
    return [[x, y] for x, y in zip(polygon[::2], polygon[1::2])]


def rle(polygon) -> Dict:
    return mask_util.merge(mask_util.frPyObjects([polygon], HEIGHT, WIDTH))


def bitmap(polygon) -> np.ndarray:
    """The mask (H, W) bool, with a hole of two pixels."""
    mask = mask_util.decode(rle(polygon)).astype(bool)
    y, x = (int(v.mean()) for v in mask.nonzero())
    mask[y, x : x + 2] = False
    return mask


def write_images(folder: Path, suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in OBJECTS:
        pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save((folder / name).with_suffix(suffix))


def write_json(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def yolo(folder: Path) -> Path:
    """With two parts, one of which is a list of images; "c.png" has no text file."""
    write_images(folder / "images/train")
    (folder / "data.yaml").write_text(
        "path: ''\ntrain: ../images/train\nval: val.txt\ntest:\nnames: {0: cat, 1: dog}\n"
    )
    (folder / "images/val").mkdir()
    (folder / "images/train/b.png").rename(folder / "images/val/b.png")
    (folder / "val.txt").write_text("./images/val/b.png\n")
    for name, objects in OBJECTS.items():
        split = "val" if name == "b.png" else "train"
        text = folder / "labels" / split / name.replace(".png", ".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        if objects:
            text.write_text("".join(map(yolo_line, objects)))
    return folder


def yolo_line(labelled) -> str:
    name, polygon = labelled
    shares = [v / side for v, side in zip(polygon, [WIDTH, HEIGHT] * len(polygon))]
    return " ".join([str(CLASSES.index(name)), *(f"{x:.6f}" for x in shares)]) + "\n"


def labelme(folder: Path) -> Path:
    write_images(folder)
    for name, objects in OBJECTS.items():
        shapes = [labelme_shape(label, points(polygon)) for label, polygon in objects]
        write_json(
            folder / name.replace(".png", ".json"),
            {
                **{"version": "5.5.0", "flags": {}, "shapes": shapes, "imageData": None},
                **{"imagePath": name, "imageHeight": HEIGHT, "imageWidth": WIDTH},
            },
        )
    return folder


def labelme_shape(label, points, kind="polygon", **more) -> Dict:
    shape = {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}}
    return {**shape, **more}


def labelme_masks(folder: Path) -> Path:
    labelme(folder)
    for name, objects in OBJECTS.items():
        path = folder / name.replace(".png", ".json")
        content = json.loads(path.read_text())
        content["shapes"] = []
        for label, polygon in objects:
            x, y, w, h = map(int, mask_util.toBbox(rle(polygon)))
            png = io.BytesIO()
            Image.fromarray(bitmap(polygon)[y : y + h, x : x + w]).save(png, "PNG")
            corners = [[x, y], [x + w - 1, y + h - 1]]
            mask = base64.b64encode(png.getvalue()).decode()
            content["shapes"].append(labelme_shape(label, corners, "mask", mask=mask))
        write_json(path, content)
    return folder


def voc(folder: Path) -> Path:
    """With the picture of the classes in colours, and that of the objects as numbers."""
    write_images(folder / "JPEGImages", ".jpg")
    lines = ["background:0,0,0::", *(f"{n}:{10 * k},200,7::" for k, n in enumerate(CLASSES, 1))]
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines))
    for kind in ("SegmentationObject", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / kind).mkdir(parents=True)
    for split, names in {"train": "a\nc\n", "val": "b\n", "trainval": "a\nb\nc\n"}.items():
        (folder / f"ImageSets/Segmentation/{split}.txt").write_text(names)
    for name, objects in OBJECTS.items():
        numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
        colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for k, (label, polygon) in enumerate(objects, 1):
            numbers[bitmap(polygon)] = k
            colours[bitmap(polygon)] = 10 * (CLASSES.index(label) + 1), 200, 7
        numbers[0, 0] = 255  # a border
        picture = Image.fromarray(numbers)
        picture.putpalette(PALETTE)
        picture.save(folder / "SegmentationObject" / name)
        Image.fromarray(colours).save(folder / "SegmentationClass" / name)
    return folder


def voc_numbers(folder: Path) -> Path:
    """With the numbers of classes and objects alone, as pictures in shades of gray."""
    voc(folder)
    (folder / "labelmap.txt").write_text("background:::\ncat:::\ndog:::\n")
    for name, objects in OBJECTS.items():
        numbers = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        for k, (label, polygon) in enumerate(objects, 1):
            numbers[:, bitmap(polygon)] = [[k], [CLASSES.index(label) + 1]]
        for kind, picture in zip(("SegmentationObject", "SegmentationClass"), numbers):
            Image.fromarray(picture).save(folder / kind / name)
    return folder


CVAT_LABELS = "".join(f"<label><name>{x}</name><type>any</type></label>" for x in CLASSES)
CVAT_SIZE = f'width="{WIDTH}" height="{HEIGHT}"'


def cvat_of(shapes: Dict[str, str]) -> str:
    images = "".join(
        f'<image id="{k}" name="{name}" {CVAT_SIZE} subset="all">{shapes[name]}</image>'
        for k, name in enumerate(OBJECTS)
    )
    meta = f"<meta><task><labels>{CVAT_LABELS}</labels></task></meta>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{meta}{images}</annotations>'


def cvat(folder: Path) -> Path:
    write_images(folder / "images")
    shapes = {
        name: "".join(cvat_polygon(label, polygon) for label, polygon in objects)
        for name, objects in OBJECTS.items()
    }
    (folder / "annotations.xml").write_text(cvat_of(shapes))
    return folder


def cvat_polygon(label: str, polygon) -> str:
    text = ";".join(f"{x},{y}" for x, y in points(polygon))
    return f'<polygon label="{label}" points="{text}"/>'


def cvat_masks(folder: Path) -> Path:
    write_images(folder / "images")
    shapes = {
        name: "".join(cvat_mask(label, bitmap(polygon)) for label, polygon in objects)
        for name, objects in OBJECTS.items()
    }
    (folder / "annotations.xml").write_text(cvat_of(shapes))
    return folder


def cvat_mask(label: str, mask: np.ndarray) -> str:
    """The runs of the part that has the mask, row by row, outside and inside in turn."""
    ys, xs = mask.nonzero()
    top, left = ys.min(), xs.min()
    part = mask[top : ys.max() + 1, left : xs.max() + 1]
    changes = np.flatnonzero(np.diff(part.ravel(), prepend=False, append=not part[-1, -1]))
    runs = ", ".join(map(str, np.diff([0, *changes])))
    place = f'left="{left}" top="{top}" width="{part.shape[1]}" height="{part.shape[0]}"'
    return f'<mask label="{label}" rle="{runs}" {place} z_order="0"/>'


def label_studio_of(results: Dict[str, List[Dict]]) -> List[Dict]:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return [
        {
            "id": k,
            "data": {"image": f"/data/upload/1/0123abcd-{name}"},
            "annotations": [{"result": [{**size, **x} for x in results[name]]}],
            "predictions": [],
        }
        for k, name in enumerate(OBJECTS)
    ]


def label_studio(folder: Path) -> Path:
    """The files have the prefix of Label Studio only in the json."""
    write_images(folder / "images")
    results = {
        name: [
            {
                "type": "polygonlabels",
                "value": {
                    "points": [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in points(polygon)],
                    "polygonlabels": [label],
                },
            }
            for label, polygon in objects
        ]
        for name, objects in OBJECTS.items()
    }
    return write_json(folder / "export.json", label_studio_of(results))


def label_studio_brush(folder: Path) -> Path:
    write_images(folder / "images")
    results = {
        name: [
            {
                "type": "brushlabels",
                "value": {"format": "rle", "rle": pack(bitmap(polygon)), "brushlabels": [label]},
            }
            for label, polygon in objects
        ]
        for name, objects in OBJECTS.items()
    }
    return write_json(folder / "export.json", label_studio_of(results))


def pack(mask: np.ndarray) -> List[int]:
    """Label Studio's packed RLE of four channels, of which the last is the mask.

    The first rows are one run of different values, the others are runs of one value each.
    """
    channels = np.full((HEIGHT, WIDTH, 4), 0, np.uint8)
    channels[:12, :, :3] = 255, 7, 0  # a colour, also where nothing was painted
    channels[..., 3] = np.where(mask, 255, 0)
    values, first = channels.ravel(), 12 * WIDTH * 4
    bits = f"{len(values):032b}{7:05b}" + 4 * f"{15:04b}" + f"000{first - 1:016b}"
    bits += "".join(f"{x:08b}" for x in values[:first])
    starts = first + np.flatnonzero(np.diff(values[first:].astype(int), prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(values)]):
        bits += f"100{end - start - 1:016b}{values[start]:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def via(folder: Path) -> Path:
    write_images(folder)
    content = {}
    for name, objects in OBJECTS.items():
        regions = [via_region(label, polygon) for label, polygon in objects]
        content[f"{name}123"] = {"filename": name, "size": 123, "regions": regions}
    return write_json(folder / "via.json", content)


def via_region(label, polygon, **attributes) -> Dict:
    shape = {"name": "polygon", "all_points_x": polygon[::2], "all_points_y": polygon[1::2]}
    return {"shape_attributes": shape, "region_attributes": {"kind": label, **attributes}}


def via_project(folder: Path) -> Path:
    """A project, with the regions as the dicts of VIA 1 and the classes as check boxes."""
    path = via(folder)
    content = json.loads(path.read_text())
    for image in content.values():
        for region in image["regions"]:
            kind = region["region_attributes"]["kind"]
            region["region_attributes"]["kind"] = {x: x == kind for x in CLASSES}
        image["regions"] = {str(k): x for k, x in enumerate(image["regions"])}
    return write_json(path, {"_via_settings": {}, "_via_img_metadata": content})


# name -> the format, what writes the data set, and whether its masks are bitmaps
FORMATS = {
    "yolo": ("yolo", yolo, False),
    "labelme": ("labelme", labelme, False),
    "labelme, masks": ("labelme", labelme_masks, True),
    "voc": ("voc", voc, True),
    "voc, numbers": ("voc", voc_numbers, True),
    "cvat": ("cvat", cvat, False),
    "cvat, masks": ("cvat", cvat_masks, True),
    "label studio": ("labelstudio", label_studio, False),
    "label studio, brush": ("labelstudio", label_studio_brush, True),
    "via": ("via", via, False),
    "via, project": ("via", via_project, False),
}
