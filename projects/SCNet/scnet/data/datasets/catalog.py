"""Looking up registered data sets: what their json files hold, and their classes."""

import os
from difflib import get_close_matches
from typing import Iterable, List, Optional

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..validation.check_json import CocoSummary, check_json


def check_registered(name: str) -> None:
    """Refuse a name that no data set is registered under.

    Raises:
        ValueError: the message names similar ones.
    """
    if name not in DatasetCatalog:
        similar = get_close_matches(name, DatasetCatalog.list())
        hint = f" Did you mean {', '.join(similar)}?" if similar else ""
        raise ValueError(
            f"No data set is registered as '{name}'.{hint} Give json files and images "
            "(--train-json, --train-images), or register it with scnet.register_coco_json."
        )


def mark_crowds(cfg: CfgNode, names: Iterable[str]) -> None:
    """Let the metadata of the data sets say what DATASETS.CROWDS_ARE_OBJECTS says.

    Loading, checks and evaluation read it there.

    Args:
        cfg: has the key.
        names: of data sets. Those that are not registered are left out.

    Raises:
        ValueError: the key is True, and a data set is not loaded by this package.
    """
    for name in (x for x in names if x in DatasetCatalog):
        metadata = MetadataCatalog.get(name)
        is_ours = "crowds_are_objects" in metadata.as_dict()
        if not is_ours and cfg.DATASETS.CROWDS_ARE_OBJECTS:
            raise ValueError(
                f"DATASETS.CROWDS_ARE_OBJECTS has no effect on the data set '{name}'. Register it "
                "with scnet.register_coco_json, or set the key to False."
            )
        if is_ours:
            del metadata.crowds_are_objects  # Detectron2 would refuse another value
            metadata.crowds_are_objects = cfg.DATASETS.CROWDS_ARE_OBJECTS


def summarize(name: str) -> Optional[CocoSummary]:
    """Check the json file of a data set.

    Returns:
        what it holds; None if the data set has no json file in COCO's format, or will have one
        only when it is loaded.

    Raises:
        ValueError: no data set is registered under the name; or see :func:`check_json`.
    """
    check_registered(name)
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type") != "coco" or not os.path.exists(metadata.json_file):
        return None
    crowds_are_objects = metadata.get("crowds_are_objects")
    return check_json(metadata.json_file, metadata.image_root, crowds_are_objects)


def current_classes(name: str) -> List[str]:
    """The names of the classes of a data set, as its json file says now.

    Without a json file, or before there is one: :func:`thing_classes`.
    """
    found = summarize(name)
    return list(found.classes.values()) if found else thing_classes(name)


def thing_classes(name: str) -> List[str]:
    """The names of the classes of a data set, as it was loaded; it is loaded if need be.

    Raises:
        KeyError: no data set is registered under the name.
        FileNotFoundError, ValueError: see :func:`scnet.data.datasets.loading.load`.
    """
    names = MetadataCatalog.get(name).get("thing_classes")
    if names is None:
        DatasetCatalog.get(name)  # reads the json, which has them
        names = MetadataCatalog.get(name).thing_classes
    return names
