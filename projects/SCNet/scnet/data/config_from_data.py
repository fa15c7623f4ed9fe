"""Setting the keys of a config that follow from the data sets."""

from typing import Any, List, Mapping, Optional, Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from .datasets.catalog import current_classes, set_reading, summarize
from .pixel_sample import set_pixel_statistics
from .semantic_targets import BACKGROUND, SOURCES
from .sizes_from_data import configure_sizes
from .validation.check_json import CocoSummary
from .validation.check_sets import check_sets
from .validation.report import shorten


def configure_for_datasets(
    cfg: CfgNode, keep: Sequence[str] = (), eval_only: bool = False
) -> List[str]:
    """Set what follows from the data sets of DATASETS.TRAIN and DATASETS.TEST.

    These are the number of classes, the format of the masks, the source and the number of classes
    of the semantic branch, pixel statistics, see :func:`set_pixel_statistics`, and with
    INPUT.SIZES_FROM_DATA the sizes of images and anchors. The json files are checked, see
    :func:`check_json`.

    Args:
        cfg: is changed.
        keep: keys that the user has given; their values are not changed.
        eval_only: look at DATASETS.TEST alone.

    Returns:
        what was decided and noticed, a line each.

    Raises:
        ValueError: the data has errors, the sets have different classes, or the data does not
            go with a key of ``keep``.
        FileNotFoundError: a file is missing.
    """
    train = () if eval_only else cfg.DATASETS.TRAIN
    set_reading(cfg, (*train, *cfg.DATASETS.TEST))
    summaries = {name: summarize(name) for name in (*train, *cfg.DATASETS.TEST)}
    classes = {name: current_classes(name) for name in summaries}
    limit = cfg.TEST.DETECTIONS_PER_IMAGE
    report = check_sets(summaries, classes, train, cfg.DATASETS.TEST, cfg.MODEL.MASK_ON, limit)
    report.raise_errors()
    lines = set_data_keys(cfg, summaries, train, keep)
    lines += set_pixel_statistics(cfg, keep) if train else []
    return [*lines, *shorten(report.notes)]


def set_data_keys(
    cfg: CfgNode,
    summaries: Mapping[str, Optional[CocoSummary]],
    train: Sequence[str],
    keep: Sequence[str] = (),
) -> List[str]:
    """Set the keys that follow from checked data sets.

    Args:
        cfg, keep: see :func:`configure_for_datasets`, as for the errors and what is returned.
        summaries: by the names of the data sets; None where there is no json to check.
        train: names of the data sets to train on.
    """
    classes = current_classes(next(iter(summaries)))
    key = "MODEL.ROI_HEADS.NUM_CLASSES"
    lines = [_set(cfg, keep, key, len(classes), ", ".join(classes[:20]))]
    lines += configure_sizes(cfg, keep) if train else []
    found = [summary for name in train if (summary := summaries[name])]
    if found and cfg.MODEL.MASK_ON:
        rle = sum(summary.num_rle for summary in found)
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
    return lines + [f"{name}: {summary}" for name, summary in summaries.items() if summary]


def configure_semantic(cfg: CfgNode, keep: Sequence[str] = ()) -> List[str]:
    """Decide what MODEL.SCNET.SEMANTIC.SOURCE "auto" means; set the number of semantic classes.

    Args:
        cfg, keep: see :func:`configure_for_datasets`, as for what is returned.

    Raises:
        ValueError: a training set lacks the maps of the source, or there are more classes than a
            map of 8 bits can hold.
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


def semantic_classes(cfg: CfgNode, things: Optional[List[str]] = None) -> List[str]:
    """The names of the semantic classes of DATASETS.TRAIN; empty if they are not known.

    Args:
        cfg: names the data sets, and the source.
        things: the classes of the first data set, once it is loaded; nothing is read then.
    """
    source, name = cfg.MODEL.SCNET.SEMANTIC.SOURCE, cfg.DATASETS.TRAIN[0]
    if source == "none":
        return []
    if source == "instances":
        return [*(things or current_classes(name)), BACKGROUND]
    if source == "panoptic" and things is None:
        DatasetCatalog.get(name)  # reads the panoptic json, which has them
    return MetadataCatalog.get(name).get("stuff_classes", [])


def _set(cfg: CfgNode, keep: Sequence[str], key: str, value: Any, reason: str) -> str:
    """Set a key; return a line about it.

    Raises:
        ValueError: the user has given another value.
    """
    *parents, last = key.split(".")
    node = cfg
    for parent in parents:
        node = node[parent]
    if key in keep and node[last] != value:
        raise ValueError(f"{key} {node[last]} was given, but the data needs {value} ({reason}).")
    node[last] = value
    return f"{key} {value} ({reason})"
