"""The part of a config that follows from the data sets."""

import os
from difflib import get_close_matches
from typing import List, Mapping, Optional, Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from .datasets.coco_json import thing_classes
from .semantic_targets import BACKGROUND, SOURCES
from .validation.check_json import CocoSummary, check_json
from .validation.report import Report, summary


def configure_for_datasets(
    cfg: CfgNode, keep: Sequence[str] = (), eval_only: bool = False
) -> List[str]:
    """Set what follows from the data sets of DATASETS.TRAIN and DATASETS.TEST.

    These are the number of classes, the format of the masks, and the source and the number of
    classes of the semantic branch. The json files are checked, see :func:`check_json`.

    Args:
        cfg: is changed.
        keep: keys with values that must not be changed.
        eval_only: DATASETS.TRAIN is not looked at.

    Returns:
        what was decided and noticed, a line each.

    Raises:
        ValueError: the data has errors, the sets have different classes, or the data does not
            go with a key of ``keep``.
        FileNotFoundError: a file is missing.
    """
    train = () if eval_only else cfg.DATASETS.TRAIN
    summaries = {name: summarize(name) for name in (*train, *cfg.DATASETS.TEST)}
    report = check_sets(summaries, train, cfg.DATASETS.TEST, cfg.MODEL.MASK_ON)
    report.raise_errors()
    return [*decide(cfg, summaries, train, keep), *summary(report.notes)]


def decide(
    cfg: CfgNode,
    summaries: Mapping[str, Optional[CocoSummary]],
    train: Sequence[str],
    keep: Sequence[str] = (),
) -> List[str]:
    """The part of :func:`configure_for_datasets` that sets keys.

    Args:
        summaries: of the data sets, by name.
        train: names of those that are trained on.
    """
    classes = classes_of(next(iter(summaries)))
    key = "MODEL.ROI_HEADS.NUM_CLASSES"
    lines = [_set(cfg, keep, key, len(classes), ", ".join(classes[:20]))]
    found = [summaries[name] for name in train if summaries[name]]
    if found and cfg.MODEL.MASK_ON:
        rle = sum(s.num_rle for s in found)
        if rle or cfg.INPUT.CROP.ENABLED:
            reason = f"{rle} masks are RLE" if rle else "bitmaps can be cropped"
            lines.append(_set(cfg, keep, "INPUT.MASK_FORMAT", "bitmask", reason))
        elif "INPUT.MASK_FORMAT" not in keep:  # polygons can be made bitmaps
            lines.append(_set(cfg, keep, "INPUT.MASK_FORMAT", "polygon", "all masks are polygons"))
    if train:
        lines += configure_semantic(cfg, keep)
    if cfg.DATASETS.TEST:
        tasks = "boxes and masks" if cfg.MODEL.MASK_ON else "boxes"
        lines.append(f"COCOEvaluator evaluates {tasks} on {', '.join(cfg.DATASETS.TEST)}")
    else:
        lines.append("no data to evaluate on: give --val-json and --val-images for AP")
    return lines + [describe(name, found) for name, found in summaries.items() if found]


def summarize(name: str) -> Optional[CocoSummary]:
    """What the json of a data set holds; None if it has none, or none until it is loaded.

    Raises:
        ValueError: no data set is registered under the name; or see :func:`check_json`.
    """
    check_name(name)
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type") != "coco" or not os.path.exists(metadata.json_file):
        return None
    return check_json(metadata.json_file, metadata.image_root)


def check_name(name: str) -> None:
    """
    Raises:
        ValueError: no data set is registered under the name.
    """
    if name not in DatasetCatalog:
        similar = get_close_matches(name, DatasetCatalog.list())
        hint = f" Did you mean {', '.join(similar)}?" if similar else ""
        raise ValueError(
            f"No data set is registered as '{name}'.{hint} Give json files and images "
            "(--train-json, --train-images), or register it with scnet.register_coco_json."
        )


def classes_of(name: str) -> List[str]:
    """The names of the classes of a data set, without loading all of it if that can be."""
    found = summarize(name)
    return list(found.classes.values()) if found else thing_classes(name)


def describe(name: str, found: CocoSummary) -> str:
    """A line of counts."""
    return (
        f"{name}: {found.num_images} images, {sum(found.objects.values())} objects, "
        f"{found.num_crowds} crowds, {found.num_empty_images} images without objects"
    )


def check_sets(
    summaries: Mapping[str, Optional[CocoSummary]],
    train: Sequence[str],
    test: Sequence[str],
    masks: bool,
) -> Report:
    """Errors and notes of all sets, and of how they go together.

    Args:
        summaries: of the data sets, by name.
        train, test: names of those that are trained and evaluated on.
        masks: whether the model predicts masks.
    """
    report = Report()
    if not summaries:
        report.error("no data", "DATASETS.TRAIN and DATASETS.TEST are empty: there is no data.")
    for name, found in summaries.items():
        if found is None:
            continue
        report.merge(found.report)
        objects = sum(found.objects.values())
        where = f"'{MetadataCatalog.get(name).json_file}'"
        nothing = found.num_empty_images == found.num_images
        if name in train and nothing and not found.report.errors:
            report.error("no objects", f"{where} has no annotations of objects to train on.")
        if masks and found.num_masks < objects:
            report.error(
                "boxes without masks",
                f"{where}: {found.num_masks} of {objects} objects have a mask ('segmentation'), "
                "but the model learns masks. "
                "Annotate them, or set MODEL.MASK_ON False to find boxes alone.",
            )
    if report.errors:
        return report
    first, *others = summaries
    for name in others:
        if classes_of(name) != classes_of(first):
            report.error(
                "different classes",
                f"'{name}' has the classes {classes_of(name)[:20]}, but '{first}' has "
                f"{classes_of(first)[:20]}. All sets must have the same, ordered by their ids.",
            )
    files = [
        set().union(*(summaries[name].files for name in names if summaries[name]))
        for names in (train, test)
    ]
    for path in sorted(files[0] & files[1]):
        report.note(
            "image in training and validation",
            f"Image '{path}' is in training and validation: its AP says little about new images.",
        )
    return report


def configure_semantic(cfg: CfgNode, keep: Sequence[str] = ()) -> List[str]:
    """Settle MODEL.SCNET.SEMANTIC.SOURCE "auto", and the number of semantic classes.

    Args and returns as :func:`configure_for_datasets`.

    Raises:
        ValueError: the training sets have not all the maps of the source, or there are more
            classes than a map of 8 bits can hold.
    """
    metadata = {name: MetadataCatalog.get(name) for name in cfg.DATASETS.TRAIN}
    having = {
        "stuffthingmaps": [n for n, m in metadata.items() if m.get("sem_seg_root")],
        "panoptic": [n for n, m in metadata.items() if m.get("panoptic_json")],
    }
    source, reason = cfg.MODEL.SCNET.SEMANTIC.SOURCE, "as the config says"
    if source == "auto":
        source = next((s for s, names in having.items() if names), "instances")
        reason = f"the training data has {'maps' if source != 'instances' else 'no semantic maps'}"
        cfg.MODEL.SCNET.SEMANTIC.SOURCE = source
    if source not in SOURCES:
        raise ValueError(
            f"MODEL.SCNET.SEMANTIC.SOURCE is '{source}'. It must be 'auto' or one of {SOURCES}."
        )
    lines = [f"MODEL.SCNET.SEMANTIC.SOURCE {source} ({reason})"]
    without = [n for n in metadata if n not in having.get(source, metadata)]
    if without:
        raise ValueError(
            f"MODEL.SCNET.SEMANTIC.SOURCE is '{source}', but the training sets {without} have no "
            "such maps. Give them (DATASETS.TRAIN_SEM_SEG, or DATASETS.TRAIN_PANOPTIC_JSON and "
            "DATASETS.TRAIN_PANOPTIC_IMAGES), or set the source to 'instances' or 'none'."
        )
    if source not in ("instances", "panoptic"):
        return lines
    names = semantic_classes(cfg)
    if len(names) > cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE:
        raise ValueError(
            f"A semantic map of 8 bits has no room for {len(names)} classes beside "
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE}. Set "
            "MODEL.SCNET.SEMANTIC.SOURCE none."
        )
    what = "things and background" if source == "instances" else "things and stuff"
    return [*lines, _set(cfg, keep, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", len(names), what)]


def semantic_classes(cfg: CfgNode) -> List[str]:
    """The names of the semantic classes of DATASETS.TRAIN; none if they are not known."""
    source, name = cfg.MODEL.SCNET.SEMANTIC.SOURCE, cfg.DATASETS.TRAIN[0]
    if source == "none":
        return []
    if source == "instances":
        return [*classes_of(name), BACKGROUND]
    if source == "panoptic":
        DatasetCatalog.get(name)  # reads the panoptic json, which has them
    return MetadataCatalog.get(name).get("stuff_classes", [])


def _set(cfg: CfgNode, keep: Sequence[str], key: str, value, reason: str) -> str:
    """Set a key. Returns a line about it."""
    *parents, last = key.split(".")
    node = cfg
    for parent in parents:
        node = node[parent]
    if key in keep and node[last] != value:
        raise ValueError(f"{key} {node[last]} was given, but the data needs {value} ({reason}).")
    node[last] = value
    return f"{key} {value} ({reason})"
