"""Looking up registered data sets: what their json files hold, and their classes."""

import os
from difflib import get_close_matches
from typing import List, Optional

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
    return check_json(metadata.json_file, metadata.image_root)


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
