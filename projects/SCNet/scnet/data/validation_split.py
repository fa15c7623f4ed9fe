"""Two json files of one: to train on, and to evaluate on."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Hashable, List, Sequence, Tuple

import msgspec
from detectron2.config import CfgNode

from ..overwrite import refuse_to_replace
from ..whole_files import whole_file
from .coco_file import is_id, read_coco_file
from .collector import paused_collector
from .content import OpenContent
from .stratification import stratify

PARTS = ("train", "val")
SEED = 0  # where the config has none: a random one would give another split to each run


def split_training_set(cfg: CfgNode, fraction: float, folder: str, keep: Sequence[str] = ()) -> str:
    """Take a share of the images of DATASETS.TRAIN_JSON for evaluation.

    ``train.json`` and ``val.json`` are written; where the folder has them already, for the same
    file, share and seed, they are used as they are. ``split.json`` says what they were made of.

    Args:
        cfg: has one json file to train on; is changed.
        fraction: the share of the images, above 0 and below 1.
        folder: gets the files.
        keep: keys that the user has given.

    Returns:
        a sentence about the split.

    Raises:
        ValueError: the fraction is no share; the user says what to evaluate on; the config has
            another number of json files to train on; there are too few images with objects; or the
            folder has another split.
        FileNotFoundError: the json file does not exist.
        FileExistsError: files of these names are there, and of no split.
    """
    data = cfg.DATASETS
    if not 0 < fraction < 1:
        raise ValueError(
            f"--val-fraction is {fraction:g}. It is a share of the images, above 0 and below 1: "
            "0.2 is one of five."
        )
    if "DATASETS.TEST_JSON" in keep:
        raise ValueError(
            "--val-fraction and --val-json (DATASETS.TEST_JSON) both say what to evaluate on. "
            "Leave one of them out."
        )
    if len(data.TRAIN_JSON) != 1 or len(data.TRAIN_IMAGES) != 1:
        raise ValueError(
            f"--val-fraction divides one data set, and {len(data.TRAIN_JSON)} are given. Give "
            "--train-json and --train-images once, or --val-json in place of --val-fraction."
        )
    (json_file,) = data.TRAIN_JSON
    seed = cfg.SEED if cfg.SEED >= 0 else SEED
    paths = [os.path.join(folder, f"{part}.json") for part in PARTS]
    record = {
        "json_file": os.path.abspath(json_file),
        "sha256": hashlib.sha256(Path(json_file).read_bytes()).hexdigest(),
        "fraction": fraction,
        "seed": seed,
    }
    known = _claim(folder, record, paths)
    if not all(map(os.path.exists, paths)):
        _write(json_file, fraction, seed, paths)
    data.TRAIN_JSON, data.TEST_JSON = ((path,) for path in paths)
    data.TEST_IMAGES = data.TRAIN_IMAGES
    counts = [len(read_coco_file(path)["images"]) for path in paths]
    return (
        f"'{json_file}' is divided{' as before' if known else ''}, each class by the same share "
        f"(--val-fraction {fraction:g}, seed {seed}): {counts[0]} images to train on "
        f"({paths[0]}), {counts[1]} to evaluate on ({paths[1]})"
    )


def _claim(folder: str, record: Dict[str, Any], paths: Sequence[str]) -> bool:
    """Note in a folder which split it has; return whether it had it already.

    Raises:
        ValueError: it has another.
        FileExistsError: it has files of the same names, and no note.
    """
    note = Path(folder, "split.json")
    if note.exists():
        before = json.loads(note.read_text())
        if before == record:
            return True
        changes = [f"{k} {before.get(k)} -> {v}" for k, v in record.items() if before.get(k) != v]
        raise ValueError(
            f"'{folder}' has another split, and models may have been trained on it "
            f"({'; '.join(changes)}). Choose another folder (OUTPUT_DIR), or remove this one."
        )
    refuse_to_replace(paths)
    with whole_file(str(note)) as f:
        json.dump(record, f, indent=1)
    return False


@paused_collector()
def _write(json_file: str, fraction: float, seed: int, paths: Sequence[str]) -> None:
    """Write the two files.

    Entries are as they were. Those that belong to no image go with the training set, whose check
    names them.

    Raises:
        ValueError: there are too few images with objects.
    """
    form = OpenContent(json_file)  # where ids that are meant alike are alike
    ids = [x.get("id") for x in form.images]
    classes: Dict[Hashable, List[Hashable]] = {x: [] for x in ids if is_id(x)}
    images: List[Any] = []  # of each annotation
    for run in form.runs():
        for x in run.annotations:
            image, category = x.get("image_id"), x.get("category_id")
            images.append(image)
            if is_id(image) and is_id(category) and category not in classes.get(image, [category]):
                classes[image].append(category)
    parts = dict(zip(classes, stratify([*classes.values()], (1 - fraction, fraction), seed)))
    for number in range(len(PARTS)):
        if not any(classes[image] for image, part in parts.items() if part == number):
            labelled = sum(map(bool, classes.values()))
            raise ValueError(
                f"'{json_file}' has {labelled} images with objects, so few that --val-fraction "
                f"{fraction:g} leaves none of them to {'evaluate' if number else 'train'} on. Give "
                "more images, another share, or --val-json."
            )
    content = read_coco_file(json_file)
    owners = {"images": ids, "annotations": images}
    for number, path in enumerate(paths):
        chosen = {
            key: [
                entry
                for entry, image in zip(content[key], owners[key])
                if number == (parts.get(image, 0) if is_id(image) else 0)
            ]
            for key in owners.keys() & content.keys()
        }
        with whole_file(path, binary=True) as f:
            f.write(_encode({**content, **chosen}))


def _encode(content: Dict[str, Any]) -> bytes:
    """Write json, with the annotations that are text already as they are."""

    def text(value: Any) -> bytes:
        return bytes(value) if isinstance(value, msgspec.Raw) else json.dumps(value).encode()

    members: List[Tuple[str, bytes]] = []
    for key, value in content.items():
        if key == "annotations":
            members.append((key, b"[" + b",\n".join(map(text, value)) + b"]"))
        else:
            members.append((key, text(value)))
    return b"{" + b",\n".join(json.dumps(k).encode() + b": " + v for k, v in members) + b"}"
