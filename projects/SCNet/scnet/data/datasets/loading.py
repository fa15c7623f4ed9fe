"""Loading data sets in COCO format as Detectron2's dicts, with the files of their semantic maps."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from ..clean_annotations import usable_mask
from ..coco_file import Id, decode
from ..collector import paused_collector
from ..content import AS_IT_IS
from ..masks import to_rle
from ..once_per_machine import PackedList, once_per_machine, packed_once_per_machine, taken
from ..validation.check_json import Usable, content_without_errors, usable_part
from ..validation.report import Report
from .panoptic_json import add_panoptic

# Keys of Detectron2's metadata that loading sets.
CLASSES = ("thing_classes", "thing_dataset_id_to_contiguous_id", "stuff_classes")


@dataclass(frozen=True)
class CocoDataset:
    """Loads a data set that has no errors; Detectron2's catalog calls it.

    Attributes:
        name: of the data set, whose metadata gets the names of the classes.
        json_file, image_root, sem_seg_root, panoptic_json, panoptic_root: see
            :func:`scnet.register_coco_json`.
        help_text: ends the message of the error that is raised when a file is missing.
    """

    name: str
    json_file: str
    image_root: str
    sem_seg_root: Optional[str] = None
    panoptic_json: Optional[str] = None
    panoptic_root: Optional[str] = None
    help_text: str = ""

    def __call__(self) -> List[Dict]:
        """Load a dict per image; errors as for :meth:`stream`."""
        with paused_collector():
            return list(self.stream())

    def stream(self) -> Iterator[Dict]:
        """Check everything, then make a dict per image, one at a time.

        Raises:
            FileNotFoundError: a file, a folder or the semantic map of an image is missing.
            ValueError: the json has errors; see :func:`check_json`.
        """
        maps = self.sem_seg_root, self.panoptic_json, self.panoptic_root
        for path in filter(None, (self.json_file, self.image_root, *maps)):
            if not os.path.exists(path):
                text = f"Data set '{self.name}' needs '{path}', which does not exist."
                raise FileNotFoundError(f"{text} {self.help_text}".rstrip())
        reading = MetadataCatalog.get(self.name).get("reading", AS_IT_IS)
        usable = content_without_errors(self.json_file, self.image_root, reading)
        records = make_records(self.name, usable, self.image_root)
        if self.sem_seg_root:
            add_sem_seg(records, self.name, self.image_root, self.sem_seg_root, self.help_text)
        if self.panoptic_json and self.panoptic_root:
            add_panoptic(records, self.name, self.panoptic_json, self.panoptic_root)
        return with_annotations(records, usable)


def load_usable(name: str, report: Report) -> PackedList:
    """Load the part of a registered data set that its json file has no errors in.

    Args:
        name: of the data set.
        report: gets an error if semantic maps are missing; the images then have none.

    Returns:
        a dict per image.
    """
    metadata = MetadataCatalog.get(name)
    reading = metadata.get("reading", AS_IT_IS)
    usable = usable_part(metadata.json_file, metadata.image_root, reading)
    records = make_records(name, usable, metadata.image_root)
    try:
        if metadata.get("sem_seg_root"):
            add_sem_seg(records, name, metadata.image_root, metadata.sem_seg_root)
        if metadata.get("panoptic_json"):
            add_panoptic(records, name, metadata.panoptic_json, metadata.panoptic_root)
    except (FileNotFoundError, ValueError) as error:
        report.error("semantic map", str(error))
    return PackedList.of(with_annotations(records, usable))


def make_records(name: str, usable: Usable, image_root: str) -> List[Dict]:
    """Make Detectron2's dicts of images, still without annotations.

    Args:
        name: of the data set, whose metadata gets the names of the classes. The k-th category by
            its id is the class k.
        usable: of the json file.
        image_root: the folder that the file names start from.

    Returns:
        a dict per image, in the order of their ids.
    """
    forget_classes(name)
    categories = sorted(usable.categories, key=lambda x: x["id"])
    MetadataCatalog.get(name).set(
        thing_classes=[x["name"] for x in categories],
        thing_dataset_id_to_contiguous_id={x["id"]: k for k, x in enumerate(categories)},
    )
    images = {x["id"]: x for x in sorted(usable.images, key=lambda x: x["id"])}
    return [
        {
            "file_name": os.path.join(image_root, x["file_name"]),
            "height": x["height"],
            "width": x["width"],
            "image_id": x["id"],
        }
        for x in images.values()
    ]


def with_annotations(records: List[Dict], usable: Usable) -> Iterator[Dict]:
    """Give each image its annotations, as Detectron2's ``load_coco_json`` does without keypoints.

    Args:
        records: a dict per image, see :func:`make_records`; the list becomes empty.
        usable: of the json file; has no annotations afterwards.
    """
    numbers = sorted(x["id"] for x in usable.categories)
    classes = {number: k for k, number in enumerate(numbers)}
    for record in taken(records):
        found = map(decode, usable.annotations.pop(record["image_id"], []))
        record["annotations"] = [
            _made(x, mask, record, classes) for x in found if (mask := usable_mask(x)) is not False
        ]
        yield record
    usable.annotations.clear()  # those of images that do not exist


def _made(annotation: Dict, mask: Any, record: Dict, classes: Dict[Id, int]) -> Dict:
    """Make Detectron2's dict of an annotation."""
    made = {
        "iscrowd": annotation.get("iscrowd", 0),
        "bbox": annotation["bbox"],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": classes[annotation["category_id"]],
    }
    if mask:
        is_rle = isinstance(mask, dict)
        made["segmentation"] = to_rle(mask, record["height"], record["width"]) if is_rle else mask
    return made


def stream(name: str) -> Iterator[Dict]:
    """Load a registered data set, a dict per image, with as few in memory at a time as can be.

    Raises:
        OSError, ValueError, Exception: what its loading raises.
    """
    make = DatasetCatalog.data.get(name)
    if isinstance(make, CocoDataset):
        return make.stream()
    return taken(list(DatasetCatalog.get(name)))


def load_once_per_machine(names: Sequence[str], read: Callable[[], Iterator[Dict]]) -> PackedList:
    """Load data sets in one process of this machine, for all of them.

    Args:
        names: of the data sets, whose metadata gets the names of the classes in all processes.
        read: loads them, in Detectron2's way. Yields a dict per image.

    Returns:
        the dicts.

    Raises:
        OSError, Exception: see :func:`packed_once_per_machine`.
    """
    records = packed_once_per_machine(read)

    def classes() -> Dict[str, Dict]:
        metadata = {name: MetadataCatalog.get(name).as_dict() for name in names}
        return {n: {key: m[key] for key in CLASSES if key in m} for n, m in metadata.items()}

    known = once_per_machine(classes)
    for name in names:
        forget_classes(name)
        MetadataCatalog.get(name).set(**known[name])
    return records


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
        name, image_root, sem_seg_root, help_text: see :class:`CocoDataset`.

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
