"""Naming one's own data, in arguments and in the config, and registering it."""

import os
from argparse import Namespace
from typing import Dict, List, Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..config import read_cfg
from .datasets.catalog import set_reading
from .datasets.coco_json import register_coco_json, register_lazily

# Arguments of the tools and the keys of DATASETS that they stand for.
ARGUMENTS = {
    "train_json": "TRAIN_JSON",
    "train_images": "TRAIN_IMAGES",
    "val_json": "TEST_JSON",
    "val_images": "TEST_IMAGES",
}
MAPS = {
    "sem_seg_root": "SEM_SEG",
    "panoptic_json": "PANOPTIC_JSON",
    "panoptic_root": "PANOPTIC_IMAGES",
}


def given_opts(args: Namespace) -> List:
    """What the arguments of a tool set, as keys and values of the config in turn.

    Args:
        args: with the names in :data:`ARGUMENTS`, lists of paths, and ``opts``, which come last.
    """
    given = {f"DATASETS.{key}": tuple(getattr(args, name)) for name, key in ARGUMENTS.items()}
    return [*(x for key, paths in given.items() if paths for x in (key, paths)), *args.opts]


def read_cfg_of(args: Namespace) -> CfgNode:
    """Read the config that the arguments of a tool name, with the data that they name.

    Data to train on takes the place of all data of the config's own, such as the example of
    ``nuclei.yaml``: without data to evaluate on nothing is evaluated.

    Args:
        args: see :func:`given_opts`; and ``config_file``.

    Errors as for :func:`read_cfg`.
    """
    opts = given_opts(args)
    replaced = "DATASETS.TRAIN_JSON" in opts[::2]
    example: List = ["DATASETS.TEST_JSON", (), "DATASETS.TEST_IMAGES", ()] if replaced else []
    return read_cfg(args.config_file, [*example, *opts])


def register_datasets(
    cfg: CfgNode, splits: Sequence[str] = ("TRAIN", "TEST"), must_exist: bool = True
) -> bool:
    """Register the data sets of DATASETS.{TRAIN,TEST}_{JSON,IMAGES}; name them in the config.

    A set is named after its json file and folder, e.g. "my_data/instances_train". If only
    training sets are given, DATASETS.TEST becomes empty: the config's own would not fit.

    Args:
        cfg: names the files; is changed.
        splits: the splits to register.
        must_exist: look for the files now, not when the data is used.

    Returns:
        whether there are any.

    Raises:
        ValueError: there is another number of folders of images, or of maps, than of json files.
        FileNotFoundError: a json file or folder does not exist.
    """
    given = False
    for split in splits:
        jsons = cfg.DATASETS[f"{split}_JSON"]
        files = {"image_root": _per_json(cfg, split, "IMAGES")}
        if split == "TRAIN":
            files.update((name, _per_json(cfg, split, key)) for name, key in MAPS.items())
        names: List[str] = []
        for k, json_file in enumerate(jsons):
            paths = {name: paths[k] for name, paths in files.items() if paths}
            register = register_coco_json if must_exist else register_lazily
            names.append(_free_name(json_file, paths))
            register(names[-1], json_file, **paths)
        if names:
            cfg.DATASETS[split] = tuple(names)
            given = True
    if "TEST" in splits and cfg.DATASETS.TRAIN_JSON and not cfg.DATASETS.TEST_JSON:
        cfg.DATASETS.TEST = ()
    for split in splits:
        set_reading(cfg, cfg.DATASETS[split])
    return given


def _per_json(cfg: CfgNode, split: str, key: str) -> Tuple[str, ...]:
    """Read the paths of a key, one per json file; () if a key that is optional has none.

    Raises:
        ValueError: there is another number of paths than of json files.
    """
    jsons, paths = cfg.DATASETS[f"{split}_JSON"], cfg.DATASETS[f"{split}_{key}"]
    if len(jsons) != len(paths) and (paths or key == "IMAGES"):
        raise ValueError(
            f"DATASETS.{split}_JSON names {len(jsons)} files and DATASETS.{split}_{key} "
            f"{len(paths)} paths. There must be one per json."
        )
    return paths


def _free_name(json_file: str, paths: Dict[str, str]) -> str:
    """Name a data set by the end of its path, long enough to differ from other data sets."""
    files = {"json_file": json_file, **paths}
    files = {key: os.path.abspath(path) for key, path in files.items()}
    parts = os.path.splitext(files["json_file"])[0].split(os.sep)
    for count in range(2, len(parts) + 1):
        name = "/".join(parts[-count:])
        metadata = MetadataCatalog.get(name)
        keys = ("json_file", "image_root", *MAPS)  # maps that are not given count, too
        if name not in DatasetCatalog or all(metadata.get(k) == files.get(k) for k in keys):
            break
    return name
