"""Registering data sets in COCO format, with or without semantic maps."""

import os
from typing import Dict, Optional

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..content import AS_IT_IS
from .loading import CocoDataset

# Arguments of CocoDataset, and keys of Detectron2's metadata.
FILES = ("json_file", "image_root", "sem_seg_root", "panoptic_json", "panoptic_root")


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
    files = _files(
        json_file=json_file,
        image_root=image_root,
        sem_seg_root=sem_seg_root,
        panoptic_json=panoptic_json,
        panoptic_root=panoptic_root,
    )
    for path in files.values():
        if not os.path.exists(path):
            raise FileNotFoundError(f"Cannot register data set '{name}': '{path}' does not exist.")
    register_lazily(name, **files)


def register_lazily(
    name: str, json_file: str, image_root: str, help_text: str = "", **maps: Optional[str]
) -> None:
    """Register a data set whose files are looked for when it is loaded.

    Args:
        name, json_file, image_root: see :func:`register_coco_json`.
        help_text: ends the message of the error that is raised when they are missing.
        maps: the optional arguments of :func:`register_coco_json`.

    Raises:
        ValueError: see :func:`register_coco_json`.
    """
    files = _files(json_file=json_file, image_root=image_root, **maps)
    metadata = MetadataCatalog.get(name)
    if name in DatasetCatalog:
        known = {key: metadata.get(key) for key in FILES if metadata.get(key)}
        if known != files:
            raise ValueError(
                f"Data set '{name}' is registered already, with other files: {known}. "
                "Choose another name."
            )
        return
    metadata.set(evaluator_type="coco", reading=AS_IT_IS, **files)
    DatasetCatalog.register(name, CocoDataset(name, help_text=help_text, **files))


def _files(**paths: Optional[str]) -> Dict[str, str]:
    """Make the paths absolute, and leave out those that are None.

    Raises:
        ValueError: only one of the panoptic ones is given.
    """
    files = {key: os.path.abspath(path) for key, path in paths.items() if path}
    if ("panoptic_json" in files) != ("panoptic_root" in files):
        raise ValueError("panoptic_json and panoptic_root go together; only one is given.")
    return files
