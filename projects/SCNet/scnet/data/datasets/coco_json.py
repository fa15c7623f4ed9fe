"""Data sets in COCO format, with or without semantic maps."""

import os
from itertools import zip_longest
from pathlib import Path
from typing import Dict, List, Optional

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from ..validation.check_json import check_json
from .panoptic_json import add_panoptic


def register_coco_json(
    name: str,
    json_file: str,
    image_root: str,
    sem_seg_root: Optional[str] = None,
    *,
    panoptic_json: Optional[str] = None,
    panoptic_root: Optional[str] = None,
) -> None:
    """Register a COCO json file as a data set, to be named in ``DATASETS.TRAIN`` or ``TEST``.

    Calling it again with the same arguments does nothing, so notebook cells can be run twice.

    Args:
        name: of the data set.
        json_file: instance annotations in COCO format.
        image_root: the folder that the file names in the json start from.
        sem_seg_root: the folder of semantic maps, if there are any: for "a/b.jpg" in the json,
            "a/b.png" in this folder.
        panoptic_json, panoptic_root: panoptic annotations in COCO format, if there are any: the
            json file, and the folder of its PNGs.

    Raises:
        FileNotFoundError: the json file or one of the folders does not exist.
        ValueError: the name is taken by other files, or only one of the panoptic ones is given.
    """
    files = _files(json_file, image_root, sem_seg_root, panoptic_json, panoptic_root)
    for path in files.values():
        if not os.path.exists(path):
            raise FileNotFoundError(f"Cannot register data set '{name}': '{path}' does not exist.")
    register_lazily(name, **files)


def register_lazily(
    name: str, json_file: str, image_root: str, help_text: str = "", **maps: Optional[str]
) -> None:
    """:func:`register_coco_json`, but the files are looked for when the data set is loaded.

    Args:
        help_text: ends the message of the error that is raised when they are missing.
        maps: the optional arguments of :func:`register_coco_json`.
    """
    files = _files(json_file, image_root, **maps)
    metadata = MetadataCatalog.get(name)
    if name in DatasetCatalog:
        known = {key: metadata.get(key) for key in FILES if metadata.get(key)}
        if known != files:
            raise ValueError(
                f"Data set '{name}' is registered already, with other files: {known}. "
                "Choose another name."
            )
        return
    metadata.set(evaluator_type="coco", **files)
    DatasetCatalog.register(name, lambda: load(name, help_text=help_text, **files))


FILES = ("json_file", "image_root", "sem_seg_root", "panoptic_json", "panoptic_root")


def _files(*paths: Optional[str], **named: Optional[str]) -> Dict[str, str]:
    """Absolute paths by the names of Detectron2's metadata; None is left out."""
    files = {**dict(zip(FILES, paths)), **named}
    files = {key: os.path.abspath(path) for key, path in files.items() if path}
    if ("panoptic_json" in files) != ("panoptic_root" in files):
        raise ValueError("panoptic_json and panoptic_root go together; only one is given.")
    return files


def load(
    name: str,
    json_file: str,
    image_root: str,
    sem_seg_root: Optional[str] = None,
    panoptic_json: Optional[str] = None,
    panoptic_root: Optional[str] = None,
    help_text: str = "",
) -> List[Dict]:
    """The images of a data set as Detectron2's dicts, with the files of their semantic maps.

    Raises:
        FileNotFoundError: a file, a folder or the semantic map of an image is missing.
        ValueError: the json has errors; see :func:`check_json`.
    """
    for path in filter(None, (json_file, image_root, sem_seg_root, panoptic_json, panoptic_root)):
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"Data set '{name}' needs '{path}', which does not exist. {help_text}".rstrip()
            )
    check_json(json_file, image_root).report.raise_errors()
    forget_classes(name)
    records = load_coco_json(json_file, image_root, name)
    if sem_seg_root:
        add_sem_seg(records, name, image_root, sem_seg_root, help_text)
    if panoptic_json:
        add_panoptic(records, name, panoptic_json, panoptic_root)
    return records


def forget_classes(name: str) -> None:
    """Let the json say anew what the classes are: it may have been corrected since it was read.

    Detectron2's metadata refuse another value.
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

    Raises:
        FileNotFoundError: there is none.
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


def thing_classes(name: str) -> List[str]:
    """The names of the classes of a data set, which is read if nobody has read it yet.

    Raises:
        KeyError: no data set is registered under the name.
        FileNotFoundError, ValueError: see :func:`load`.
    """
    names = MetadataCatalog.get(name).get("thing_classes")
    if names is None:
        DatasetCatalog.get(name)  # reads the json, which has them
        names = MetadataCatalog.get(name).thing_classes
    return names


def class_names(cfg) -> List[str]:
    """The names of the classes, from the first of ``DATASETS.TEST``.

    Raises:
        ValueError: no data set is named, or there is not one name per class of
            ``MODEL.ROI_HEADS.NUM_CLASSES``.
    """
    if not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty; it says which data set names the classes.")
    name = cfg.DATASETS.TEST[0]
    if name not in DatasetCatalog and not MetadataCatalog.get(name).get("thing_classes"):
        raise ValueError(f"Data set '{name}' of DATASETS.TEST is not registered.")
    names = thing_classes(name)
    check_num_classes(cfg, name, names)
    return names


def check_num_classes(cfg, name: str, names: List[str]) -> None:
    """Compare the classes of a data set with those of the model.

    Raises:
        ValueError: their numbers differ.
    """
    if len(names) != cfg.MODEL.ROI_HEADS.NUM_CLASSES:
        raise ValueError(
            f"Data set '{name}' has {len(names)} classes {names[:10]}, but the model has "
            f"MODEL.ROI_HEADS.NUM_CLASSES {cfg.MODEL.ROI_HEADS.NUM_CLASSES}."
        )


def check_class_names(owner: str, names: List[str], dataset: str) -> None:
    """Compare classes with those of a data set, in number, name and order.

    Args:
        owner: whose names they are, for the message.

    Raises:
        ValueError: they differ; the message says where.
    """
    expected = thing_classes(dataset)
    for k, (name, other) in enumerate(zip_longest(names, expected, fillvalue="missing")):
        if name != other:
            raise ValueError(
                f"{owner} and data set '{dataset}' differ in class {k}: '{name}' and '{other}'."
            )
