"""Checking a COCO json file without opening its images. Training does this first."""

import os
import sys
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple, cast

from tqdm import tqdm

from ..canonical_form import PlainAnnotation
from ..coco_file import Entry, Id, decode, kind_of_ids
from ..collector import paused_collector
from ..content import AS_IT_IS, OpenContent, Reading
from .check_annotation import LEFT_OUT, AnnotationCheck, find
from .check_categories import check_categories, root_classes
from .check_image_entries import ImageEntryCheck
from .report import Report
from .suspects import find_suspects

MIN_CROWDS = 5  # of a class: with fewer it may be chance that most of its objects are crowds

# Shorter work says nothing.
SILENT = 2  # seconds, before progress is shown
LARGE = 50e6  # bytes of a file


@dataclass
class CocoSummary:
    """What a json file holds.

    Attributes:
        json_file: the file.
        classes: names by category id, in the order of the ids, which is that of the classes.
        objects: annotations that are not crowds, by class name.
        crowds: annotations that are crowds, by class name.
        per_image: objects, by image id.
        num_images, num_empty_images: counts.
        num_masks: objects with a segmentation.
        num_rle: objects whose segmentation is an RLE.
        boxes: four numbers per object that can be trained on: width and height of its box, and of
            its image, in pixels.
        files: paths of the images.
        report: errors and notes.
    """

    json_file: str
    classes: Dict[Id, str] = field(default_factory=dict)
    objects: Counter = field(default_factory=Counter)
    crowds: Counter = field(default_factory=Counter)
    per_image: Counter = field(default_factory=Counter)
    num_images: int = 0
    num_empty_images: int = 0
    num_masks: int = 0
    num_rle: int = 0
    boxes: "array[float]" = field(default_factory=lambda: array("f"))
    files: Set[str] = field(default_factory=set)
    report: Report = field(default_factory=Report)

    @property
    def num_objects(self) -> int:
        """The number of annotations that are not crowds."""
        return sum(self.objects.values())

    @property
    def num_crowds(self) -> int:
        """The number of annotations that are crowds."""
        return sum(self.crowds.values())

    def __str__(self) -> str:
        return (
            f"{self.num_images} images, {self.num_objects} objects, {self.num_crowds} crowds, "
            f"{self.num_empty_images} images without objects"
        )


def check_json(json_file: str, image_root: str, reading: Reading = AS_IT_IS) -> CocoSummary:
    """Read a json file and look for everything that would make training fail or go wrong.

    A file that has not changed is not read again. Its content is kept for :func:`usable_part`.

    Args:
        json_file: in COCO's format for instances.
        image_root: the folder that the file names in it start from.
        reading: how the file is read.

    Raises:
        ValueError: see :class:`OpenContent`; everything else is in the summary's report.
        FileNotFoundError: the file or the folder does not exist.
    """
    for path in (json_file, image_root):
        if not os.path.exists(path):
            raise FileNotFoundError(f"'{path}' does not exist.")
    if not os.path.isdir(image_root):
        raise ValueError(f"'{image_root}' is no folder. It must be the folder of the images.")
    if os.path.isdir(json_file):
        raise ValueError(f"'{json_file}' is a folder. It must be a json file in COCO's format.")
    return _check(_state(json_file, image_root, reading))


class Usable(NamedTuple):
    """The categories, images and annotations of a file that can be used.

    Attributes:
        categories, images: the entries.
        annotations: by the ids of their images, for :func:`scnet.data.coco_file.decode`.
    """

    categories: List[Dict]
    images: List[Dict]
    annotations: Dict[Id, List[Entry]]


def usable_part(json_file: str, image_root: str, reading: Reading = AS_IT_IS) -> Usable:
    """Read a json file without the categories, images and annotations that have errors.

    The file is read only if it was not when it was checked, or has changed since. What is returned
    is the caller's, who may change it: the next call reads the file again.

    Arguments and errors as for :func:`check_json`.
    """
    state = _state(json_file, image_root, reading)
    return _kept.pop(state, None) or _Checker(*state[:3]).usable


def content_without_errors(json_file: str, image_root: str, reading: Reading = AS_IT_IS) -> Usable:
    """Read a json file that must not have errors; what is returned is as of :func:`usable_part`.

    If it was checked before and has not changed since, it is not checked again: images that have
    gone in the meantime are for who opens them to find.

    Arguments and errors as for :func:`check_json`.

    Raises:
        ValueError: the file has errors.
    """
    check_json(json_file, image_root, reading).report.raise_errors()
    state = _state(json_file, image_root, reading)
    return _kept.pop(state, None) or _all_of(OpenContent(json_file, image_root, reading))


@paused_collector()
def _all_of(content: OpenContent) -> Usable:
    """Take all of a file that has no errors."""
    usable = Usable(content.categories, content.images, defaultdict(list))
    for run in content.runs():
        for annotation, entry in zip(run.annotations, run.entries):
            usable.annotations[cast(Id, annotation.get("image_id"))].append(entry)
    return usable


class _State(NamedTuple):
    """A file as it was found."""

    json_file: str
    image_root: str
    reading: Reading
    mtime: int
    size: int


def _state(json_file: str, image_root: str, reading: Reading) -> _State:
    found = os.stat(json_file)
    return _State(str(json_file), str(image_root), reading, found.st_mtime_ns, found.st_size)


# What was checked and is still to be loaded.
_kept: Dict[_State, Usable] = {}


@lru_cache(maxsize=8)
def _check(state: _State) -> CocoSummary:
    """Check a file, and keep what is usable instead of that of former states."""
    for former in [x for x in _kept if x[:2] == state[:2]]:
        del _kept[former]
    checker = _Checker(*state[:3])
    _kept[state] = checker.usable
    return checker.summary


# An annotation without errors: its image, whether Detectron2 leaves it out, and of the annotation
# the category, whether it is a crowd, the box and the mask.
_Usable = Tuple[Dict, bool, Id, int, List[float], Any]
_values = attrgetter("category_id", "iscrowd", "bbox", "segmentation")


class _Checker:
    """Goes over the parts of a file once, in the order of the methods.

    Attributes:
        summary: what the file holds.
        usable: its content without what has errors.
    """

    @paused_collector()
    def __init__(self, json_file: str, image_root: str, reading: Reading) -> None:
        self.json_file, self.image_root = json_file, image_root
        self.summary = CocoSummary(json_file)
        self.report = self.summary.report
        self.image_of: Dict[Id, Dict] = {}
        self.with_objects: Set[Id] = set()  # ids of images
        size = os.path.getsize(json_file)
        if size > LARGE:
            tqdm.write(f"Reading '{json_file}' ({size / 1e6:.0f} MB).", file=sys.stderr)
        content = OpenContent(json_file, image_root, reading)
        self.usable = Usable([], [], defaultdict(list))
        self.categories(content.categories)
        self.images(content)
        if content.size is not None:
            self.annotations(content, content.size)
            if reading.crowds_are_objects is None:
                self.crowds()
        notes = [f"'{json_file}': {note}" for note in content.notes()]
        if notes:  # they come first, but are known only now
            self.report.notes = defaultdict(
                list, {"read in another form": notes, **self.report.notes}
            )

    def categories(self, categories: List[Dict]) -> None:
        self.usable.categories.extend(check_categories(categories, self.json_file, self.report))
        self.summary.classes = {c["id"]: c["name"] for c in self.usable.categories}

    def images(self, content: OpenContent) -> None:
        if not content.images:
            self.report.error("no images", f"'{self.json_file}' has no images. List them.")
        check = ImageEntryCheck(self.json_file, self.image_root, self.report)
        for image in filter(check.is_usable, content.images):
            number, name = image["id"], image["file_name"]
            if number in self.image_of:
                self.report.error(
                    "two images with one id",
                    f"'{self.json_file}': the images '{self.image_of[number]['file_name']}' and "
                    f"'{name}' both have the id {number}. Give each its own.",
                )
                continue
            if self.image_of and kind_of_ids([number]) != kind_of_ids(self.image_of):
                self.report.error(
                    "ids of two kinds",
                    f"'{self.json_file}': image '{name}' has the id {number!r}, but the id of "
                    f"another is {next(iter(self.image_of))!r}. All must be integers, or all text.",
                )
                continue
            self.image_of[number] = image
            path = os.path.join(self.image_root, name)
            if path in self.summary.files:
                self.report.note("image named twice", f"'{self.json_file}' names '{name}' twice.")
            self.summary.files.add(path)
            if name in content.missing:
                check.report_missing(name)
            else:
                self.usable.images.append(image)
        self.summary.num_images = self.summary.num_empty_images = len(self.image_of)

    def annotations(self, content: OpenContent, size: int) -> None:
        summary = self.summary
        check = AnnotationCheck(self.json_file, summary.classes, self.image_of, self.report)
        shown = f"Checking '{os.path.basename(self.json_file)}'"
        with tqdm(total=size, desc=shown, unit="annotation", delay=SILENT) as bar:
            for run in content.runs():
                suspects = find_suspects(run, check)
                found = []
                for annotation, entry, suspect in zip(run.annotations, run.entries, suspects):
                    if isinstance(annotation, PlainAnnotation) and not suspect:
                        image = self.image_of[annotation.image_id]
                        usable: Optional[_Usable] = (image, False, *_values(annotation))
                    else:
                        whole = annotation if isinstance(annotation, dict) else decode(entry)
                        usable = self.look_at(whole, check)
                    if usable:
                        self.usable.annotations[usable[0]["id"]].append(entry)
                        found.append(usable)
                self.count(found)
                bar.update(len(run.annotations))
        summary.num_empty_images = len(self.image_of) - len(self.with_objects)
        if summary.objects and check.reach <= 1 < max(map(_side, self.image_of.values())):
            self.report.error(
                "boxes within one pixel",
                f"'{self.json_file}': all boxes lie within the first pixel of their image. A bbox "
                "is in pixels, not in parts of the image's width and height.",
            )
        roots = root_classes(self.usable.categories) - summary.crowds.keys()
        for name in (x for x in summary.classes.values() if x not in summary.objects):
            text = f"'{self.json_file}': no object has the class '{name}'."
            if name in roots:
                text += (
                    " It is the 'supercategory' of all others, as in the files of Roboflow. Leave "
                    f"it out with DATASETS.CLASSES_LEFT_OUT \"('{name}',)\"."
                )
            self.report.note("class without objects", text)

    def look_at(self, annotation: Dict, check: AnnotationCheck) -> Optional[_Usable]:
        """Check an annotation; None if it is not usable."""
        image = find(self.image_of, annotation.get("image_id"))
        if not check.is_usable(annotation, image):
            return None
        if image is None:
            self.report.note(
                "annotation of no image",
                f"'{self.json_file}', annotation {annotation['id']}: there is no image "
                f"with the id {annotation['image_id']}. {LEFT_OUT}",
            )
            return None
        left_out = check.is_left_out(annotation, image)
        crowd, mask = annotation.get("iscrowd", 0), annotation.get("segmentation")
        return image, left_out, annotation["category_id"], crowd, annotation["bbox"], mask

    def count(self, found: List[_Usable]) -> None:
        """Count annotations without errors."""
        summary, classes = self.summary, self.summary.classes
        crowds = [classes[category] for _, _, category, is_crowd, _, _ in found if is_crowd]
        objects = [x for x in found if not x[3]] if crowds else found
        summary.crowds.update(crowds)
        summary.objects.update([classes[category] for _, _, category, _, _, _ in objects])
        summary.per_image.update([image["id"] for image, *_ in objects])
        learned = [(image, box) for image, left_out, _, _, box, _ in objects if not left_out]
        self.with_objects.update([image["id"] for image, _ in learned])
        for image, box in learned:
            summary.boxes.extend((box[2], box[3], image["width"], image["height"]))
        masks = [mask for *_, mask in objects if mask]
        summary.num_masks += len(masks)
        summary.num_rle += sum([isinstance(mask, dict) for mask in masks])

    def crowds(self) -> None:
        """Report crowds that must be objects, as CVAT writes masks that were painted."""
        crowds, objects = self.summary.crowds, self.summary.objects
        suspicious = {x: n for x, n in crowds.items() if n > max(objects[x], MIN_CROWDS - 1)}
        if suspicious or self.summary.num_crowds > self.summary.num_objects:
            most = suspicious or crowds
            counts = [f"{n} of {n + objects[x]} of the class '{x}'" for x, n in most.items()]
            self.report.error(
                "most objects are crowds",
                f"'{self.json_file}': most annotations are crowds (iscrowd 1), which are neither "
                f"learned nor evaluated: {', '.join(counts[:5])}. Some tools write this for masks "
                "that were painted. Set DATASETS.CROWDS_ARE_OBJECTS True if each is one object, "
                "False if they are groups.",
            )


def _side(image: Dict) -> int:
    """The length of the longer side of an image."""
    return max(image["height"], image["width"])
