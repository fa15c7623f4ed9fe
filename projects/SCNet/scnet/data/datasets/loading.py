"""Loading data sets in COCO format as Detectron2's dicts, with the files of their semantic maps."""

import os
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from ..clean_annotations import usable_annotations
from ..coco_file import Content
from ..collector import paused_collector
from ..content import AS_IT_IS
from ..masks import to_rle
from ..once_per_machine import PackedList, packed_once_per_machine
from ..validation.check_json import content_without_errors, usable_part
from ..validation.report import Report
from .panoptic_json import add_panoptic

T = TypeVar("T")

# Keys of Detectron2's metadata that loading sets.
CLASSES = ("thing_classes", "thing_dataset_id_to_contiguous_id", "stuff_classes")


def load(
    name: str,
    json_file: str,
    image_root: str,
    sem_seg_root: Optional[str] = None,
    panoptic_json: Optional[str] = None,
    panoptic_root: Optional[str] = None,
    help_text: str = "",
) -> List[Dict]:
    """Load a data set that has no errors.

    Args:
        name: of the data set, whose metadata gets the names of the classes.
        json_file, image_root, sem_seg_root, panoptic_json, panoptic_root: see
            :func:`scnet.register_coco_json`.
        help_text: ends the message of the error that is raised when a file is missing.

    Returns:
        a dict per image.

    Raises:
        FileNotFoundError: a file, a folder or the semantic map of an image is missing.
        ValueError: the json has errors; see :func:`check_json`.
    """
    for path in filter(None, (json_file, image_root, sem_seg_root, panoptic_json, panoptic_root)):
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"Data set '{name}' needs '{path}', which does not exist. {help_text}".rstrip()
            )
    reading = MetadataCatalog.get(name).get("reading", AS_IT_IS)
    content = content_without_errors(json_file, image_root, reading)
    records = make_records(name, content, image_root)
    if sem_seg_root:
        add_sem_seg(records, name, image_root, sem_seg_root, help_text)
    if panoptic_json and panoptic_root:
        add_panoptic(records, name, panoptic_json, panoptic_root)
    return records


def load_usable(name: str, report: Report) -> List[Dict]:
    """Load the part of a registered data set that its json file has no errors in.

    Args:
        name: of the data set.
        report: gets an error if semantic maps are missing; the images then have none.

    Returns:
        a dict per image.
    """
    metadata = MetadataCatalog.get(name)
    reading = metadata.get("reading", AS_IT_IS)
    content = usable_part(metadata.json_file, metadata.image_root, reading)
    records = make_records(name, content, metadata.image_root)
    try:
        if metadata.get("sem_seg_root"):
            add_sem_seg(records, name, metadata.image_root, metadata.sem_seg_root)
        if metadata.get("panoptic_json"):
            add_panoptic(records, name, metadata.panoptic_json, metadata.panoptic_root)
    except (FileNotFoundError, ValueError) as error:
        report.error("semantic map", str(error))
    return records


@paused_collector()
def make_records(name: str, content: Content, image_root: str) -> List[Dict]:
    """Make Detectron2's dicts of images, as its ``load_coco_json`` does without keypoints.

    Args:
        name: of the data set, whose metadata gets the names of the classes.
        content: without errors.
        image_root: the folder that the file names start from.

    Returns:
        a dict per image, in the order of their ids. The k-th category by its id is the class k.
    """
    forget_classes(name)
    categories = sorted(content["categories"], key=lambda x: x["id"])
    classes = {x["id"]: k for k, x in enumerate(categories)}
    MetadataCatalog.get(name).set(
        thing_classes=[x["name"] for x in categories], thing_dataset_id_to_contiguous_id=classes
    )
    records = {
        x["id"]: {
            "file_name": os.path.join(image_root, x["file_name"]),
            "height": x["height"],
            "width": x["width"],
            "image_id": x["id"],
            "annotations": [],
        }
        for x in sorted(content["images"], key=lambda x: x["id"])
    }
    for annotation in usable_annotations(content):
        record = records[annotation["image_id"]]
        made = {
            "iscrowd": annotation["iscrowd"],
            "bbox": annotation["bbox"],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": classes[annotation["category_id"]],
        }
        segmentation = annotation.get("segmentation")
        if segmentation:
            is_rle = isinstance(segmentation, dict)
            size = record["height"], record["width"]
            made["segmentation"] = to_rle(segmentation, *size) if is_rle else segmentation
        record["annotations"].append(made)
    return list(records.values())


def load_once_per_machine(
    names: Sequence[str], read: Callable[[], Tuple[List[Dict], T]]
) -> Tuple[PackedList, T]:
    """Load data sets in one process of this machine, for all of them.

    Args:
        names: of the data sets, whose metadata gets the names of the classes in all processes.
        read: loads them, in Detectron2's way. Returns a dict per image, and something small.

    Returns:
        what ``read`` does.

    Raises:
        OSError, Exception: see :func:`packed_once_per_machine`.
    """

    def read_with_classes() -> Tuple[List[Dict], Tuple[T, Dict[str, Dict]]]:
        records, extra = read()
        metadata = {name: MetadataCatalog.get(name).as_dict() for name in names}
        known = {n: {key: m[key] for key in CLASSES if key in m} for n, m in metadata.items()}
        return records, (extra, known)

    records, (extra, known) = packed_once_per_machine(read_with_classes)
    for name in names:
        forget_classes(name)
        MetadataCatalog.get(name).set(**known[name])
    return records, extra


def forget_classes(name: str) -> None:
    """Forget the names of the classes before the json is read, which may have been corrected.

    Detectron2's metadata would refuse other names.
    """
    metadata = MetadataCatalog.get(name)
    for key in ("thing_classes", "thing_dataset_id_to_contiguous_id"):
        if metadata.get(key) is not None:
            delattr(metadata, key)
    if metadata.get("panoptic_json") and metadata.get("stuff_classes"):
        del metadata.stuff_classes


def add_sem_seg(
    records: List[Dict], name: str, image_root: str, sem_seg_root: str, help_text: str = ""
) -> None:
    """Give each image its "sem_seg_file_name".

    Args:
        records: a dict per image.
        name, image_root, sem_seg_root, help_text: see :func:`load`.

    Raises:
        FileNotFoundError: an image has no semantic map.
    """
    maps = {str(p.relative_to(sem_seg_root)) for p in Path(sem_seg_root).rglob("*.png")}
    for record in records:
        image = os.path.relpath(record["file_name"], image_root)
        sem_seg = os.path.splitext(image)[0] + ".png"
        record["sem_seg_file_name"] = os.path.join(sem_seg_root, sem_seg)
        if sem_seg not in maps:
            raise FileNotFoundError(
                f"Data set '{name}' has no semantic map '{record['sem_seg_file_name']}' for "
                f"its image '{record['file_name']}'. {help_text}".rstrip()
            )
