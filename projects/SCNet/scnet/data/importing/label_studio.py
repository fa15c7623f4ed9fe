"""Label Studio's own json (https://labelstud.io/guide/export), with coordinates in percent."""

import posixpath
from typing import Any, Dict, Iterator, List, Optional, Tuple
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np

from ..image import IMAGE_SUFFIXES
from ..image_names import find_images
from ..masks import encode
from .files import checked_size, folder_beside, read_json, size_of_image
from .labels import LabelledImage, LabelledObject, Labels, Request
from .outlines import box_around, ellipse

FORM = "--from labelstudio takes the export 'JSON'."
KINDS = ("polygonlabels", "brushlabels", "ellipselabels", "rectanglelabels")
OPAQUE = 128  # of 255, from which on a pixel that was painted belongs to the mask


class Result(msgspec.Struct):
    """A region, or something else that was said about an image."""

    type: str
    value: Dict[str, Any] = {}
    original_width: Optional[float] = None
    original_height: Optional[float] = None
    image_rotation: float = 0


class Annotation(msgspec.Struct):
    """What one person said about an image."""

    result: List[Result]
    was_cancelled: bool = False


class Task(msgspec.Struct):
    """An image."""

    data: Dict[str, Any]
    annotations: List[Annotation]
    predictions: List[Any] = []


class Shape(msgspec.Struct):
    """The numbers of a region; which ones it has depends on its kind."""

    points: List[Tuple[float, float]] = []
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    radiusX: float = 0
    radiusY: float = 0
    rotation: float = 0
    rle: List[int] = []


def read_label_studio(request: Request) -> Labels:
    """Read a json file of Label Studio.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such json.
    """
    try:
        tasks = read_json(request.source, List[Task], "an export 'JSON' of Label Studio")
    except ValueError as error:
        raise ValueError(f"{error} {FORM}") from error
    folder = request.images_folder or folder_beside(request.source, "images")
    names = [_image_of(task.data, request.source) for task in tasks]
    # The json that is written has the names as they are here, and its reader says that they differ.
    files = [x["file_name"] for x in find_images([{"file_name": x} for x in names], folder).images]

    def read() -> Iterator[LabelledImage]:
        for task, name, file in zip(tasks, names, files):
            size = _size_of(task, request.source) or size_of_image(folder, file, request.source)
            yield LabelledImage(name, *size, _read_objects(task, name, size, request))

    return Labels(folder, [], read())


def _size_of(task: Task, path: str) -> Optional[Tuple[int, int]]:
    """The height and width of an image, which its regions repeat; None if there are none."""
    for annotation in task.annotations:
        for x in annotation.result:
            if x.original_height and x.original_width:
                return checked_size(x.original_height, x.original_width, path)
    return None


def _read_objects(
    task: Task, image: str, size: Tuple[int, int], request: Request
) -> List[LabelledObject]:
    """Make the objects of an image of its last annotation that was not cancelled."""
    lost = request.lost
    finished = [x for x in task.annotations if not x.was_cancelled]
    lost["annotations were cancelled or skipped: they are left out"] += len(task.annotations) - len(
        finished
    )
    lost["predictions are left out"] += len(task.predictions)
    lost["further annotations of an image are left out: its last one is taken"] += max(
        len(finished) - 1, 0
    )
    if not finished:
        lost["images are not annotated: they are taken as images of nothing"] += 1
    results = finished[-1].result if finished else []
    objects = [_read_object(x, size, image, request) for x in results]
    return [x for x in objects if x]


def _image_of(data: Dict[str, Any], path: str) -> str:
    """The file name of a task's image, without where Label Studio keeps it.

    Raises:
        ValueError: the task has no image, or several.
    """
    names = {}
    for key, value in data.items():
        if isinstance(value, str):
            url = urlsplit(value)
            local = parse_qs(url.query).get("d") if "local-files" in url.path else None
            name = local[0] if local else posixpath.basename(url.path)
            if posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                names[key] = name
    if len(names) != 1 and "image" not in names:
        raise ValueError(f"'{path}' has a task with the data {list(data)}: which is its image?")
    return names.get("image") or next(iter(names.values()))


def _read_object(
    result: Result, size: Tuple[int, int], image: str, request: Request
) -> Optional[LabelledObject]:
    """Make an object of a region; None if it is none, which is counted.

    Raises:
        ValueError: the image was turned; or the region cannot be what it says.
    """
    if result.type not in KINDS:
        request.lost[f"results of the type '{result.type}' are left out"] += 1
        return None
    where = f"'{request.source}': a region of '{image}'"
    if result.image_rotation:
        raise ValueError(f"{where} is for the image turned by {result.image_rotation:g} degrees.")
    try:
        shape = msgspec.convert(result.value, Shape)
        names = msgspec.convert(result.value.get(result.type, []), List[str])
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}.") from error
    if not names:
        request.lost["regions without a label are left out"] += 1
        return None
    request.lost["further labels of a region are left out: its first one is taken"] += (
        len(names) - 1
    )
    height, width = size
    x, y = shape.x * width / 100, shape.y * height / 100
    if result.type == "polygonlabels":
        points = [
            v * side / 100 for point in shape.points for v, side in zip(point, (width, height))
        ]
        return LabelledObject(names[0], [points])
    if result.type == "ellipselabels":
        radii = shape.radiusX * width / 100, shape.radiusY * height / 100
        return LabelledObject(names[0], [ellipse(x, y, *radii, shape.rotation)])
    if result.type == "rectanglelabels":
        sides = shape.width * width / 100, shape.height * height / 100
        return LabelledObject(names[0], box=box_around(x, y, *sides, shape.rotation, "corner"))
    try:
        alpha = unpack(bytes(shape.rle))[3::4]
        return LabelledObject(names[0], encode(alpha.reshape(size) >= OPAQUE))
    except ValueError as error:
        raise ValueError(
            f"{where} was painted with the brush, and its rle does not fill {width} x {height} "
            f"pixels: {error}."
        ) from error


def unpack(data: bytes) -> np.ndarray:
    """Get the values of Label Studio's packed RLE, which are those of red, green, blue and alpha.

    It is a row of bits: 32 for the number of values; 5 for the bits of a value, less one; four
    times 4 for the bits that a length may have, less one. Then, run by run: a bit that says whether
    one value is repeated; two bits that choose among the four; the length of the run, less one; and
    the value, or as many values.

    Returns:
        (N,) uint8.

    Raises:
        ValueError: the bits end early, or there are more values than an image has.
    """
    bits = "".join(f"{x:08b}" for x in data)
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        if at > len(bits):
            raise ValueError("it is cut off")
        return int(bits[at - count : at], 2)

    count = read(32)
    if count >= 2**31:
        raise ValueError(f"it has {count} values")
    size = read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    runs: List[np.ndarray] = []
    done = 0
    while done < count:
        repeated = read(1)
        length = read(lengths[read(2)]) + 1
        values = [read(size)] if repeated else [read(size) for _ in range(length)]
        if max(values) > 255:
            raise ValueError("it has values of more than 8 bits")
        runs.append(np.repeat(np.array(values, np.uint8), length if repeated else 1))
        done += length
    return np.concatenate(runs)[:count] if runs else np.zeros(0, np.uint8)
