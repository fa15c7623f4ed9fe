"""One's own data: from json files and folders of images to a config that fits them."""

import os
from argparse import ArgumentParser, Namespace
from typing import Dict, List, Optional, Sequence, Tuple

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..data.check_json import CocoSummary, check_json
from ..data.coco_json import register_coco_json, register_lazily, thing_classes
from ..data.report import Report, summary
from ..data.semantic_targets import BACKGROUND, SOURCES

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


def add_data_arguments(parser: ArgumentParser) -> None:
    """Add --train-json, --train-images, --val-json and --val-images.

    They are repeated for several data sets, as what follows them may be KEY VALUE pairs.
    """
    group = parser.add_argument_group(
        "own data", "in COCO format, instead of the config's; repeat them for several sets"
    )
    for name, help_text in (
        ("train-json", "annotations to train on"),
        ("train-images", "the folder of their images, one per json"),
        ("val-json", "annotations to evaluate on"),
        ("val-images", "the folder of their images, one per json"),
    ):
        group.add_argument(f"--{name}", action="append", default=[], metavar="PATH", help=help_text)


def merge_data_arguments(cfg: CfgNode, args: Namespace) -> None:
    """Put what :func:`add_data_arguments` has parsed into the config."""
    for name, key in ARGUMENTS.items():
        if getattr(args, name):
            cfg.DATASETS[key] = tuple(getattr(args, name))


def register_datasets(
    cfg: CfgNode, splits: Sequence[str] = ("TRAIN", "TEST"), must_exist: bool = True
) -> bool:
    """Register the data sets of DATASETS.{TRAIN,TEST}_{JSON,IMAGES}; name them in the config.

    A set is named after its json file and folder, e.g. "my_data/instances_train". If only
    training sets are given, DATASETS.TEST becomes empty: the config's own would not fit.

    Args:
        splits: the ones to register.
        must_exist: look for the files now, not when the data is used.

    Returns:
        whether there are any.

    Raises:
        ValueError: there is not one folder of images, or of maps, per json.
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
    return given


def _per_json(cfg: CfgNode, split: str, key: str) -> Tuple[str, ...]:
    """The paths of a key; () if there are none and need not be."""
    jsons, paths = cfg.DATASETS[f"{split}_JSON"], cfg.DATASETS[f"{split}_{key}"]
    if len(jsons) != len(paths) and (paths or key == "IMAGES"):
        raise ValueError(
            f"DATASETS.{split}_JSON names {len(jsons)} files and DATASETS.{split}_{key} "
            f"{len(paths)} paths. There must be one per json."
        )
    return paths


def _free_name(json_file: str, paths: Dict[str, str]) -> str:
    """The end of the path, with as many folders as it takes to differ from other data sets."""
    files = {"json_file": json_file, **paths}
    files = {key: os.path.abspath(path) for key, path in files.items()}
    parts = os.path.splitext(files["json_file"])[0].split(os.sep)
    for count in range(2, len(parts) + 1):
        name = "/".join(parts[-count:])
        metadata = MetadataCatalog.get(name)
        if name not in DatasetCatalog or all(metadata.get(k) == v for k, v in files.items()):
            break
    return name


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
    summaries: Dict[str, Optional[CocoSummary]],
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
        if rle:
            lines.append(_set(cfg, keep, "INPUT.MASK_FORMAT", "bitmask", f"{rle} masks are RLE"))
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
    """What the json of a data set holds; None if it has none, or none until it is loaded."""
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type") != "coco" or not os.path.exists(metadata.json_file):
        return None
    return check_json(metadata.json_file, metadata.image_root)


def classes_of(name: str) -> List[str]:
    """The names of the classes of a data set, without loading all of it if that can be."""
    found = summarize(name)
    return list(found.classes.values()) if found else thing_classes(name)


def describe(name: str, summary: CocoSummary) -> str:
    """A line of counts."""
    return (
        f"{name}: {summary.num_images} images, {sum(summary.objects.values())} objects, "
        f"{summary.num_crowds} crowds, {summary.num_empty_images} images without objects"
    )


def check_sets(
    summaries: Dict[str, Optional[CocoSummary]],
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
        if name in train and not objects and not found.report.errors:
            report.error("no objects", f"{where} has no annotations of objects to train on.")
        if masks and found.num_masks < objects:
            count = "no object" if not found.num_masks else f"only {found.num_masks} of {objects}"
            report.error(
                "boxes without masks",
                f"{where}: {count} has a mask ('segmentation'), but the model learns masks. "
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
