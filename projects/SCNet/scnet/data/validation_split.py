"""Two json files of one: to train on, and to evaluate on; once, or for each of several folds."""

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
    json_file = _one_json(cfg, "--val-fraction", keep)
    seed = _seed(cfg)
    record = {**_origin(json_file), "fraction": fraction, "seed": seed}
    paths = [os.path.join(folder, f"{part}.json") for part in PARTS]
    known = _claim(folder, record, paths)
    if not all(map(os.path.exists, paths)):
        argument = f"--val-fraction {fraction:g}"
        _Divided(json_file, (1 - fraction, fraction), seed, argument).write(1, paths)
    data.TRAIN_JSON, data.TEST_JSON = ((path,) for path in paths)
    data.TEST_IMAGES = data.TRAIN_IMAGES
    counts = [len(read_coco_file(path)["images"]) for path in paths]
    return (
        f"'{json_file}' is divided{' as before' if known else ''}, each class by the same share "
        f"(--val-fraction {fraction:g}, seed {seed}): {counts[0]} images to train on "
        f"({paths[0]}), {counts[1]} to evaluate on ({paths[1]})"
    )


def split_into_folds(cfg: CfgNode, folders: Sequence[str], keep: Sequence[str] = ()) -> List[str]:
    """Divide the images of DATASETS.TRAIN_JSON into as many parts as there are folders.

    Each folder gets the ``val.json`` of one part, the ``train.json`` of all others, and the
    ``split.json`` of :func:`split_training_set`. Files that are there for the same are left.

    Args:
        cfg: has one json file to train on.
        folders: two or more.
        keep: keys that the user has given.

    Returns:
        a line about the images of each fold.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: see :func:`split_training_set`; a part needs
            an image with objects, too.
    """
    json_file, seed, count = _one_json(cfg, "--folds", keep), _seed(cfg), len(folders)
    origin, divided, lines = _origin(json_file), None, []
    for number, folder in enumerate(folders):
        paths = [os.path.join(folder, f"{part}.json") for part in PARTS]
        _claim(folder, {**origin, "folds": count, "fold": number + 1, "seed": seed}, paths)
        if not all(map(os.path.exists, paths)):
            divided = divided or _Divided(json_file, (1 / count,) * count, seed, f"--folds {count}")
            divided.write(number, paths)
        counts = [len(read_coco_file(path)["images"]) for path in paths]
        lines.append(f"{folder}: {counts[0]} images to train on, {counts[1]} to evaluate on")
    return lines


def _one_json(cfg: CfgNode, argument: str, keep: Sequence[str]) -> str:
    """The json file that is to be divided.

    Raises:
        ValueError: there is not one, or the user says what to evaluate on.
        FileNotFoundError: there is no such file.
    """
    data = cfg.DATASETS
    if "DATASETS.TEST_JSON" in keep:
        raise ValueError(
            f"{argument} and --val-json (DATASETS.TEST_JSON) both say what to evaluate on. "
            "Leave one of them out."
        )
    if len(data.TRAIN_JSON) != 1 or len(data.TRAIN_IMAGES) != 1:
        raise ValueError(
            f"{argument} divides one data set, and {len(data.TRAIN_JSON)} are given. Give "
            f"--train-json and --train-images once, or --val-json in place of {argument}."
        )
    (json_file,) = data.TRAIN_JSON
    if not os.path.exists(json_file):
        raise FileNotFoundError(f"{argument} divides '{json_file}', which does not exist.")
    return str(json_file)


def _seed(cfg: CfgNode) -> int:
    return int(cfg.SEED) if cfg.SEED >= 0 else SEED


def _origin(json_file: str) -> Dict[str, Any]:
    """What a note says of the file that was divided."""
    digest = hashlib.sha256(Path(json_file).read_bytes()).hexdigest()
    return {"json_file": os.path.abspath(json_file), "sha256": digest}


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


class _Divided:
    """A json file whose images are dealt to parts."""

    @paused_collector()
    def __init__(self, json_file: str, shares: Sequence[float], seed: int, argument: str):
        """Read the file and deal its images.

        Args:
            json_file: in COCO's format.
            shares: of the parts.
            seed: of the order.
            argument: that asks for it, for messages.
        """
        form = OpenContent(json_file)  # where ids that are meant alike are alike
        ids = [x.get("id") for x in form.images]
        classes: Dict[Hashable, List[Hashable]] = {x: [] for x in ids if is_id(x)}
        images: List[Any] = []  # of each annotation
        for run in form.runs():
            for x in run.annotations:
                image, category = x.get("image_id"), x.get("category_id")
                images.append(image)
                known = classes.get(image, [category]) if is_id(image) else [category]
                if is_id(category) and category not in known:
                    classes[image].append(category)
        self.json_file, self.argument = json_file, argument
        self.parts = dict(zip(classes, stratify([*classes.values()], shares, seed)))
        self.labelled = [self.parts[image] for image, own in classes.items() if own]
        self.owners = {"images": ids, "annotations": images}
        self.content = read_coco_file(json_file)

    @paused_collector()
    def write(self, part: int, paths: Sequence[str]) -> None:
        """Write a file of all parts but one, and a file of that one.

        Entries are as they were. Those that belong to no image go with the training set, whose
        check names them.

        Args:
            part: the number of the one.
            paths: of the files.

        Raises:
            ValueError: there are too few images with objects.
        """
        for is_val, purpose in enumerate(("train", "evaluate")):
            if not any((x == part) == bool(is_val) for x in self.labelled):
                raise ValueError(
                    f"'{self.json_file}' has {len(self.labelled)} images with objects, so few that "
                    f"{self.argument} leaves none of them to {purpose} on. Give more images, "
                    "another number, or --val-json."
                )
        for is_val, path in enumerate(paths):
            chosen = {
                key: [
                    entry
                    for entry, image in zip(self.content[key], self.owners[key])
                    if (is_id(image) and self.parts.get(image) == part) == bool(is_val)
                ]
                for key in self.owners.keys() & self.content.keys()
            }
            with whole_file(path, binary=True) as f:
                f.write(_encode({**self.content, **chosen}))


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
