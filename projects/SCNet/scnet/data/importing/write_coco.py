"""Writing annotations of other formats as a COCO json file, and saying what is not in it."""

import json
from collections import Counter
from typing import Any, Callable, Dict, Hashable, List, NamedTuple, Optional, Tuple

from pycocotools import mask as mask_util

from ...overwrite import refuse_impossible_outputs, refuse_to_replace
from ...whole_files import whole_file
from .. import masks
from .cvat import read_cvat
from .label_studio import read_label_studio
from .labelme import read_labelme
from .labels import LabelledImage, LabelledObject, Labels, Request
from .via import read_via
from .voc import read_voc
from .yolo import read_yolo

READERS: Dict[str, Callable[[Request], Labels]] = {
    "cvat": read_cvat,
    "labelme": read_labelme,
    "labelstudio": read_label_studio,
    "via": read_via,
    "voc": read_voc,
    "yolo": read_yolo,
}


class Imported(NamedTuple):
    """What was written.

    Attributes:
        images_folder: that the names in the json start from.
        sentences: what is in the file, and what was lost on the way.
    """

    images_folder: str
    sentences: List[str]


def import_labels(
    kind: str,
    source: str,
    json_file: str,
    *,
    images_folder: Optional[str] = None,
    split: Optional[str] = None,
    class_attribute: Optional[str] = None,
    overwrite: bool = False,
) -> Imported:
    """Write annotations of another format as a COCO json file.

    The classes are those of all parts of the data, whichever part is written.

    Args:
        kind: of :data:`READERS`.
        source: path of the file or folder of the annotations.
        json_file: path of the file that is written.
        images_folder: of the images; None for the place that is usual for the format.
        split: the part of the data that is written, such as "train"; None for all.
        class_attribute: for formats without classes: the attribute that is the class.
        overwrite: replace a file that exists.

    Raises:
        FileExistsError: the file exists, and ``overwrite`` is False.
        OSError: a file cannot be read or written.
        ValueError: the annotations cannot be what they say; the message names the file; or
            there is no such part of the data.
    """
    refuse_impossible_outputs([json_file], [source])
    if not overwrite:
        refuse_to_replace([json_file])
    lost: Counter[str] = Counter()
    labels = READERS[kind](Request(source, images_folder, class_attribute, lost))
    images = list(labels.images)
    classes = _classes(images, labels.classes, source)
    parts = Counter(x.split for x in images)
    if split is not None:
        if split not in parts:
            raise ValueError(f"'{source}' has no part '{split}', only {sorted(parts)}.")
        images = [x for x in images if x.split == split]
    _refuse_same_names(images, source)
    ids = {name: k for k, name in enumerate(classes, 1)}
    try:
        annotations = _annotations(images, ids, lost)
    except ValueError as error:
        raise ValueError(f"'{source}': {error}") from error
    content = {
        "images": [
            {"id": k, "file_name": x.file_name, "height": x.height, "width": x.width}
            for k, x in enumerate(images, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes, 1)],
    }
    with whole_file(json_file) as f:
        json.dump(content, f)
    sentences = [
        f"'{json_file}' has {len(images)} images, {len(annotations)} objects and {len(classes)} "
        f"classes of '{source}'"
    ]
    if split is None and len(parts) > 1:
        counts = ", ".join(f"{name or 'none'} {n}" for name, n in sorted(parts.items()))
        sentences.append(f"it joins the parts of the data ({counts} images); --split takes one")
    sentences += [f"{count} {text}" for text, count in sorted(lost.items()) if count]
    return Imported(labels.images_folder, sentences)


def _classes(images: List[LabelledImage], known: List[str], source: str) -> List[str]:
    """The classes in their order: that of the format, or of their names.

    Raises:
        ValueError: an object has none of the classes that the format lists; or two are alike.
    """
    if not known:
        return sorted({x.name for image in images for x in image.objects})
    if len(set(known)) < len(known):
        [(name, _)] = Counter(known).most_common(1)
        raise ValueError(f"'{source}' has two classes with the name '{name}'.")
    for image in images:
        for x in image.objects:
            if x.name not in known:
                raise ValueError(
                    f"'{source}': an object of '{image.file_name}' has the class '{x.name}', which "
                    f"is none of {known[:20]}."
                )
    return known


def _refuse_same_names(images: List[LabelledImage], source: str) -> None:
    """Make sure that each image comes once.

    Raises:
        ValueError: one comes twice.
    """
    names = Counter(x.file_name for x in images)
    if names and max(names.values()) > 1:
        [(name, count)] = names.most_common(1)
        raise ValueError(
            f"'{source}' has the image '{name}' {count} times, with annotations each time. Leave "
            "one of them, or choose a part of the data with --split."
        )


def _annotations(
    images: List[LabelledImage], ids: Dict[str, int], lost: "Counter[str]"
) -> List[Dict[str, Any]]:
    """The annotations of all images.

    Raises:
        ValueError: a mask or box cannot be one.
    """
    annotations: List[Dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        for x in _joined(image, lost):
            shape = _shape(x, image)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[x.name],
                    "iscrowd": 0,
                    **shape,
                }
            )
            lost["objects are boxes without a mask"] += x.segmentation is None
    return annotations


def _joined(image: LabelledImage, lost: "Counter[str]") -> List[LabelledObject]:
    """The objects of an image, with those of one group put together, and without empty ones."""
    groups: Dict[Tuple[str, Hashable], List[LabelledObject]] = {}
    for k, x in enumerate(image.objects):
        if isinstance(x.segmentation, list):
            polygons = [p for p in x.segmentation if masks.is_valid_polygon(p)]
            lost["polygons have fewer than three points: they are left out"] += len(
                x.segmentation
            ) - len(polygons)
            if not polygons:
                continue
            x = x._replace(segmentation=polygons)
        alone = x.group is None or x.segmentation is None
        groups.setdefault((x.name, ("alone", k) if alone else x.group), []).append(x)
    return [_union(xs, image) for xs in groups.values()]


def _union(objects: List[LabelledObject], image: LabelledImage) -> LabelledObject:
    """One object of several that have masks."""
    if len(objects) == 1:
        return objects[0]
    parts = [x.segmentation for x in objects]
    if all(isinstance(x, list) for x in parts):
        return objects[0]._replace(segmentation=[p for x in parts for p in x or []])
    for x in objects:
        _refuse_mistakes(x, image)
    rles = [masks.to_rle(x, image.height, image.width) for x in parts if x is not None]
    rle = mask_util.merge(rles)
    return objects[0]._replace(segmentation={"size": rle["size"], "counts": rle["counts"].decode()})


def _refuse_mistakes(x: LabelledObject, image: LabelledImage) -> None:
    """Make sure that a mask or a box can be one.

    Raises:
        ValueError: it cannot.
    """
    mistake = None
    if x.segmentation is not None:
        mistake = masks.find_mistake(x.segmentation, image.height, image.width)
    elif not x.box or not masks.are_numbers(x.box) or min(x.box[2:]) < 0:
        mistake = f"is the box {x.box} (left, top, width, height)"
    if mistake:
        raise ValueError(f"an object '{x.name}' of '{image.file_name}' {mistake}.")


def _shape(x: LabelledObject, image: LabelledImage) -> Dict[str, Any]:
    """The mask of an object as an annotation has it, with the box around it and its area."""
    _refuse_mistakes(x, image)
    if x.segmentation is None:
        assert x.box is not None  # see _refuse_mistakes
        return {"bbox": x.box, "area": x.box[2] * x.box[3]}
    rle = masks.to_rle(x.segmentation, image.height, image.width)
    box = mask_util.toBbox(rle).tolist()
    return {"bbox": box, "area": masks.area(rle), "segmentation": x.segmentation}
