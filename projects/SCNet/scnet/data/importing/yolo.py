"""YOLO's text files for segmentation: a line per object, with a class and a polygon.

A folder has ``data.yaml`` with the names of the classes and, for each part of the data set, a
folder of images or a list of them. The labels of ``images/a.jpg`` are ``labels/a.txt``. The format
is that of https://docs.ultralytics.com/datasets/segment.
"""

import os
from typing import Any, Dict, Iterator, List, Tuple, Union

import msgspec
import yaml

from .files import find_files, find_images, must_be_folder, name_in, read_lines, size_of_image
from .labels import LabelledImage, LabelledObject, Labels, Request

SPLITS = ("train", "val", "test")
FORM = "--from yolo takes a folder with data.yaml, or with classes.txt, one name per line."
OUTSIDE = 0.01  # of the side of an image, that a point may be outside by


class DataYaml(msgspec.Struct):
    """The parts of data.yaml that are read."""

    names: Union[List[str], Dict[str, str]]
    path: str = ""
    train: Union[str, List[str]] = ""
    val: Union[str, List[str]] = ""
    test: Union[str, List[str]] = ""
    kpt_shape: Any = None

    def classes(self) -> Dict[int, str]:
        """The names of the classes by their numbers."""
        if isinstance(self.names, list):
            return dict(enumerate(self.names))
        return {int(k): self.names[k] for k in sorted(self.names, key=int)}


def read_yolo(request: Request) -> Labels:
    """Read a data set in YOLO's format.

    Args:
        request: its source is the folder, or data.yaml itself.

    Raises:
        OSError: a file or folder that is named is not there.
        ValueError: data.yaml or a line of a text file cannot be what it says.
    """
    folder, given = os.path.split(request.source)
    if not given.endswith((".yaml", ".yml")):
        folder, given = request.source, ""
        must_be_folder(folder, FORM)
    path = os.path.join(folder, given or "data.yaml")
    if given or os.path.exists(path):
        data = read_data_yaml(path)
    else:
        must_be_folder(folder, FORM, "classes.txt")
        lines = read_lines(os.path.join(folder, "classes.txt"))
        data = DataYaml([line.strip() for line in lines if line.strip()])
    if data.kpt_shape:
        raise ValueError(f"'{folder}' has poses (kpt_shape), which are no masks.")
    classes = data.classes()
    root = request.images_folder or folder
    images = _read_images(root, _list_images(root, data), classes, request)
    return Labels(root, list(classes.values()), images)


def read_data_yaml(path: str) -> DataYaml:
    """Read data.yaml, in which all values are taken as text.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no yaml, or has no names.
    """
    with open(path, encoding="utf-8") as f:
        try:
            data = msgspec.convert(yaml.load(f, yaml.BaseLoader), DataYaml)
            data.classes()
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            text = " ".join(str(error).split())
            raise ValueError(f"'{path}' is no data.yaml of YOLO: {text}.") from error
    return data


def _list_images(root: str, data: DataYaml) -> Iterator[Tuple[str, str]]:
    """Find the images, each with the part of the data set that it is in.

    Raises:
        FileNotFoundError: a place that data.yaml names is not there.
    """
    given = {split: getattr(data, split) for split in SPLITS if getattr(data, split)}
    if not given:
        for path in find_images(root):
            yield path, ""
    for split, places in given.items():
        for place in [places] if isinstance(places, str) else places:
            found = _find(place, root, data.path)
            if os.path.isdir(found):
                paths = list(find_images(found))
            else:
                lines = read_lines(found)
                paths = [_find(line.strip(), root, data.path) for line in lines if line.strip()]
            for path in paths:
                yield path, split


def _find(place: str, root: str, base: str) -> str:
    """Find a place that is written as seen from one of several folders.

    Raises:
        FileNotFoundError: it is in none of them.
    """
    # Roboflow writes "../train/images" where it means "train/images".
    inside = place.replace("\\", "/").removeprefix("./").removeprefix("../")
    tried = [os.path.join(root, base, place), os.path.join(root, place)]
    tried.append(os.path.join(root, inside))
    for path in tried:
        if os.path.exists(path):
            return os.path.normpath(path)
    raise FileNotFoundError(
        f"YOLO's '{place}' is none of {list(dict.fromkeys(tried))}. Correct it in data.yaml or in "
        "the list of images."
    )


def _read_images(
    root: str, images: Iterator[Tuple[str, str]], classes: Dict[int, str], request: Request
) -> Iterator[LabelledImage]:
    labels = set()
    folders = set()
    for path, split in images:
        size = size_of_image(root, name_in(root, path), "data.yaml")
        text = _labels_of(path)
        folders.add(os.path.dirname(text))
        objects: List[LabelledObject] = []
        if os.path.exists(text):
            labels.add(os.path.normpath(text))
            objects = read_objects(text, size, classes)
        else:
            request.lost["images have no text file: they are taken as images of nothing"] += 1
        yield LabelledImage(name_in(root, path), *size, objects, split)
    there = {os.path.normpath(x) for folder in folders for x in find_files(folder, ".txt")}
    unused = [x for x in there - labels if os.path.basename(x) not in ("classes.txt", "train.txt")]
    request.lost["text files of labels have no image: they are left out"] += len(unused)


def _labels_of(image: str) -> str:
    """Where the labels of an image are: "labels" for the last "images" in its path, or beside."""
    stem = os.path.splitext(image)[0]
    before, folder, after = stem.rpartition(f"{os.sep}images{os.sep}")
    return f"{before}{os.sep}labels{os.sep}{after}.txt" if folder else f"{stem}.txt"


def read_objects(path: str, size: Tuple[int, int], classes: Dict[int, str]) -> List[LabelledObject]:
    """Read the lines of a text file.

    Raises:
        ValueError: one is no "class x1 y1 x2 y2 ..." with a known class and shares of the sides.
    """
    height, width = size
    objects = []
    for row, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        where = f"'{path}', line {row}"
        try:
            number, shares = int(line.split()[0]), list(map(float, line.split()[1:]))
        except ValueError as error:
            raise ValueError(f"{where} is no number of a class with numbers after it.") from error
        if number not in classes:
            raise ValueError(f"{where} has the class {number}, none of {list(classes)[:20]}.")
        name = classes[number]
        if len(shares) % 2 or len(shares) < 4:
            raise ValueError(
                f"{where} has {len(shares)} numbers after the class, which are no points (x, y)."
            )
        if not all(-OUTSIDE <= x <= 1 + OUTSIDE for x in shares):
            raise ValueError(
                f"{where} has numbers outside 0 to 1. YOLO's are shares of the sides, not pixels."
            )
        pixels = [x * side for x, side in zip(shares, (width, height) * (len(shares) // 2))]
        if len(shares) == 4:  # the middle and the size of a box
            x, y, w, h = pixels
            objects.append(LabelledObject(name, box=[x - w / 2, y - h / 2, w, h]))
        else:
            objects.append(LabelledObject(name, [pixels]))
    return objects
