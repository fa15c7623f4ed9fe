"""Looking up registered data sets: what their json files hold, and their classes."""

import os
from difflib import get_close_matches
from typing import Iterable, List, Optional

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..content import AS_IT_IS, Reading
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


def set_reading(cfg: CfgNode, names: Iterable[str]) -> None:
    """Let the metadata of data sets say how their json files are to be read.

    Loading, checks and evaluation look there.

    Args:
        cfg: has the keys DATASETS.CROWDS_ARE_OBJECTS and DATASETS.CLASSES_LEFT_OUT.
        names: of data sets. Those that are not registered are left out.

    Raises:
        ValueError: a key is set, and a data set is not loaded by this package.
    """
    reading = Reading(cfg.DATASETS.CROWDS_ARE_OBJECTS, tuple(cfg.DATASETS.CLASSES_LEFT_OUT))
    for name in (x for x in names if x in DatasetCatalog):
        metadata = MetadataCatalog.get(name)
        if "reading" in metadata.as_dict():
            del metadata.reading  # Detectron2 would refuse another value
            metadata.reading = reading
            continue
        for key, value in zip(("CROWDS_ARE_OBJECTS", "CLASSES_LEFT_OUT"), reading):
            if value:
                raise ValueError(
                    f"DATASETS.{key} has no effect on the data set '{name}'. Register it with "
                    "scnet.register_coco_json, or leave the key as it is by default."
                )


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
    return check_json(metadata.json_file, metadata.image_root, metadata.get("reading", AS_IT_IS))


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
        FileNotFoundError, ValueError: see :func:`scnet.data.datasets.loading.CocoDataset.stream`.
    """
    names = MetadataCatalog.get(name).get("thing_classes")
    if names is None:
        DatasetCatalog.get(name)  # reads the json, which has them
        names = MetadataCatalog.get(name).thing_classes
    return names
