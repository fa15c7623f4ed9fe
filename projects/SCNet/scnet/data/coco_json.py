"""Data sets in COCO format, with or without a folder of semantic maps."""

import os
from pathlib import Path
from typing import Dict, List, Optional

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json


def register_coco_json(
    name: str, json_file: str, image_root: str, sem_seg_root: Optional[str] = None
) -> None:
    """Register a COCO json file as a data set, to be named in ``DATASETS.TRAIN`` or ``TEST``.

    Calling it again with the same arguments does nothing, so notebook cells can be run twice.

    Args:
        name: of the data set.
        json_file: instance annotations in COCO format.
        image_root: the folder that the file names in the json start from.
        sem_seg_root: the folder of the semantic maps: for "a/b.jpg" in the json, "a/b.png" in
            this folder. Needed for training with the semantic branch only.

    Raises:
        FileNotFoundError: the json file or one of the folders does not exist.
        ValueError: the name is taken by other files.
    """
    for path in filter(None, (json_file, image_root, sem_seg_root)):
        if not os.path.exists(path):
            raise FileNotFoundError(f"Cannot register data set '{name}': '{path}' does not exist.")
    register_lazily(name, json_file, image_root, sem_seg_root)


def register_lazily(
    name: str,
    json_file: str,
    image_root: str,
    sem_seg_root: Optional[str] = None,
    help_text: str = "",
) -> None:
    """:func:`register_coco_json`, but the files are looked for when the data set is loaded.

    Args:
        help_text: ends the message of the error that is raised when they are missing.
    """
    files = {"json_file": json_file, "image_root": image_root, "sem_seg_root": sem_seg_root}
    files = {key: os.path.abspath(path) for key, path in files.items() if path}
    metadata = MetadataCatalog.get(name)
    if name in DatasetCatalog:
        known = {key: metadata.get(key) for key in files}
        if known != files or ("sem_seg_root" not in files and metadata.get("sem_seg_root")):
            raise ValueError(
                f"Data set '{name}' is registered already, with other files: {known}. "
                "Choose another name."
            )
        return
    metadata.set(evaluator_type="coco", **files)
    DatasetCatalog.register(name, lambda: load(name, help_text=help_text, **files))


def load(
    name: str,
    json_file: str,
    image_root: str,
    sem_seg_root: Optional[str] = None,
    help_text: str = "",
) -> List[Dict]:
    """The images of a data set as Detectron2's dicts, with ``sem_seg_file_name`` if there are maps.

    Raises:
        FileNotFoundError: a file, a folder or the semantic map of an image is missing.
    """
    for path in filter(None, (json_file, image_root, sem_seg_root)):
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"Data set '{name}' needs '{path}', which does not exist. {help_text}".rstrip()
            )
    records = load_coco_json(json_file, image_root, name)
    if sem_seg_root:
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
    return records


def class_names(cfg) -> List[str]:
    """The names of the classes, from the first of ``DATASETS.TEST``.

    Raises:
        ValueError: no data set is named, or there is not one name per class of
            ``MODEL.ROI_HEADS.NUM_CLASSES``.
    """
    if not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty; it says which data set names the classes.")
    name = cfg.DATASETS.TEST[0]
    names = MetadataCatalog.get(name).get("thing_classes")
    if names is None and name in DatasetCatalog:
        DatasetCatalog.get(name)  # reads the json, which has them
        names = MetadataCatalog.get(name).get("thing_classes")
    check_num_classes(cfg, name, names or [])
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
