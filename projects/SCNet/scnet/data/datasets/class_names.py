"""Comparing the classes of a model with those of data sets."""

from itertools import zip_longest
from typing import List

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..once_per_machine import once_per_machine
from .catalog import current_classes, thing_classes


def class_names(cfg: CfgNode) -> List[str]:
    """The names of the classes of a model, which are those of the first data set to test on.

    Args:
        cfg: of the model; the first name in DATASETS.TEST counts.

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


def check_num_classes(cfg: CfgNode, name: str, names: List[str]) -> None:
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
    """Compare classes with those of a data set, in number, name and order; in all processes.

    Args:
        owner: whose names they are, for the message.

    Raises:
        ValueError: they differ; the message says where.
    """
    expected = once_per_machine(lambda: current_classes(dataset))
    for k, (name, other) in enumerate(zip_longest(names, expected, fillvalue="missing")):
        if name != other:
            raise ValueError(
                f"{owner} and data set '{dataset}' differ in class {k}: '{name}' and '{other}'."
            )
