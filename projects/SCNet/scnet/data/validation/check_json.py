"""Checks of a COCO json file that need no image to be opened. Training runs them first."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Dict, List, Set

from .check_annotation import LEFT_OUT, AnnotationCheck
from .report import Report


@dataclass
class CocoSummary:
    """What a json file holds.

    Attributes:
        classes: names by category id, in the order of the ids, which is that of the classes.
        objects: annotations that are not crowds, by class name.
        num_images, num_crowds, num_empty_images: counts.
        num_masks: objects with a segmentation.
        num_rle: of these, the ones that are no polygons.
        files: paths of the images.
        report: what was found.
    """

    classes: Dict[int, str] = field(default_factory=dict)
    objects: Counter = field(default_factory=Counter)
    num_images: int = 0
    num_crowds: int = 0
    num_empty_images: int = 0
    num_masks: int = 0
    num_rle: int = 0
    files: Set[str] = field(default_factory=set)
    report: Report = field(default_factory=Report)


def check_json(json_file: str, image_root: str) -> CocoSummary:
    """Read a json file and look for all that would make training fail or go wrong.

    A file that has not changed is read once.

    Args:
        json_file: in COCO's format for instances.
        image_root: the folder that the file names in it start from.

    Raises:
        ValueError: it cannot be read, is no json, or not in COCO's format as a whole; everything
            else is in the summary's report.
        FileNotFoundError: the file or the folder does not exist.
    """
    for path in (json_file, image_root):
        if not os.path.exists(path):
            raise FileNotFoundError(f"'{path}' does not exist.")
    if not os.path.isdir(image_root):
        raise ValueError(f"'{image_root}' is no folder. It must be the folder of the images.")
    if os.path.isdir(json_file):
        raise ValueError(f"'{json_file}' is a folder. It must be a json file in COCO's format.")
    state = os.stat(json_file)
    return _check(str(json_file), str(image_root), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _check(json_file: str, image_root: str, mtime: int, size: int) -> CocoSummary:
    return _Checker(json_file, image_root).summary


def usable_part(json_file: str, image_root: str) -> Dict[str, List[Dict]]:
    """The content of a json file without the images and annotations that are errors.

    Args and errors as :func:`check_json`.
    """
    return _Checker(json_file, image_root).usable


def read_coco(json_file: str) -> Dict[str, List[Dict]]:
    """The content of a json file, whose parts are lists of dicts.

    Raises:
        ValueError: see :func:`check_json`.
    """
    try:
        with open(json_file, encoding="utf-8") as f:
            text = f.read()
        if text.startswith("\ufeff"):
            raise ValueError(
                f"'{json_file}' starts with a byte order mark. Save it in UTF-8 without one."
            )
        if not text.strip():
            raise ValueError(f"'{json_file}' is empty. It must hold json in COCO's format.")
        content = json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"'{json_file}' is no text in UTF-8: {error}. Save it in UTF-8."
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"'{json_file}' is no json: {error}. Is it cut off?") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"'{json_file}' holds a {type(content).__name__}, but a COCO file is one object with "
            "'images', 'annotations' and 'categories'."
        )
    for key in ("images", "categories", "annotations"):
        if key not in content:
            if key == "annotations":  # a test set may have none
                continue
            raise ValueError(
                f"'{json_file}' has no '{key}', only {sorted(content)}. Is it in COCO's format?"
            )
        if not isinstance(content[key], list):
            raise ValueError(
                f"'{key}' in '{json_file}' must be a list, not a {type(content[key]).__name__}."
            )
        if not all(isinstance(x, dict) for x in content[key]):
            raise ValueError(f"'{key}' in '{json_file}' must hold objects only.")
    return content


class _Checker:
    """One pass over the parts of a file, in the order of the methods."""

    def __init__(self, json_file: str, image_root: str) -> None:
        self.json_file, self.image_root = json_file, image_root
        self.summary = CocoSummary()
        self.report = self.summary.report
        self.image_of: Dict[int, Dict] = {}
        content = read_coco(json_file)
        self.usable: Dict[str, List[Dict]] = {key: [] for key in content}
        self.categories(content["categories"])
        self.images(content["images"])
        if "annotations" in content:
            self.annotations(content["annotations"])

    def categories(self, categories: List[Dict]) -> None:
        where = f"'{self.json_file}'"
        if not categories:
            self.report.error("no categories", f"{where} has no categories. Add the classes.")
        for category in categories:
            number, name = category.get("id"), category.get("name")
            if type(number) is not int or not isinstance(name, str) or not name:
                self.report.error(
                    "category without id or name",
                    f"{where}: category {category} needs an integer 'id' and a 'name'.",
                )
            elif number in self.summary.classes:
                self.report.error(
                    "two categories with one id",
                    f"{where}: the categories '{self.summary.classes[number]}' and '{name}' both "
                    f"have the id {number}. Give each its own.",
                )
            elif name in self.summary.classes.values():
                self.report.error(
                    "two categories with one name",
                    f"{where}: two categories are named '{name}'. Rename one, or join them.",
                )
            else:
                self.summary.classes[number] = name
                self.usable["categories"].append(category)
        classes = self.summary.classes = dict(sorted(self.summary.classes.items()))
        if classes and list(classes) != list(range(1, len(classes) + 1)):
            self.report.note(
                "category ids with gaps",
                f"{where}: the category ids are not 1 to {len(classes)}. They are mapped to the "
                f"classes 0 to {len(classes) - 1} in training, and back in results.",
            )

    def images(self, images: List[Dict]) -> None:
        if not images:
            self.report.error("no images", f"'{self.json_file}' has no images. List them.")
        for image in images:
            if not self._is_image(image):
                continue
            number, name = image["id"], image["file_name"]
            path = os.path.join(self.image_root, name)
            if number in self.image_of:
                self.report.error(
                    "two images with one id",
                    f"'{self.json_file}': the images '{self.image_of[number]['file_name']}' and "
                    f"'{name}' both have the id {number}. Give each its own.",
                )
                continue
            self.image_of[number] = image
            if path in self.summary.files:
                self.report.note("image named twice", f"'{self.json_file}' names '{name}' twice.")
            self.summary.files.add(path)
            if not os.path.isfile(path):
                self.report.error(
                    "missing image", f"Image '{path}' does not exist.{self._hint(name)}"
                )
            else:
                self.usable["images"].append(image)
        self.summary.num_images = self.summary.num_empty_images = len(self.image_of)

    def _is_image(self, image: Dict) -> bool:
        name, where = image.get("file_name"), f"'{self.json_file}'"
        if not isinstance(name, str) or not name:
            self.report.error(
                "image without file_name", f"{where}: image {str(image)[:200]} has no 'file_name'."
            )
            return False
        if type(image.get("id")) is not int:
            self.report.error("image without id", f"{where}: image '{name}' needs an integer 'id'.")
            return False
        for key in ("height", "width"):
            if type(image.get(key)) is not int or image[key] < 1:
                self.report.error(
                    "image without size",
                    f"{where}: image '{name}' needs its '{key}' in pixels, a whole number above 0, "
                    f"not {image.get(key)!r}.",
                )
                return False
        return True

    def _hint(self, name: str) -> str:
        """Where the image may be instead."""
        if "\\" in name:
            return " Write '/' in its file_name, not '\\'."
        base = os.path.basename(name)
        found = self._names_in_root.get(base.lower())
        if found is None or os.path.normpath(found) == os.path.normpath(name):
            return " Is this the folder that its file_name starts from?"
        return f" There is '{os.path.join(self.image_root, found)}': correct the file_name."

    @property
    def _names_in_root(self) -> Dict[str, str]:
        """The files below the folder of the images, by lower-case name."""
        if not hasattr(self, "_listed"):
            self._listed = {
                name.lower(): os.path.relpath(os.path.join(folder, name), self.image_root)
                for folder, _, names in os.walk(self.image_root)
                for name in names
            }
        return self._listed

    def annotations(self, annotations: List[Dict]) -> None:
        summary, seen, with_objects = self.summary, set(), set()
        check = AnnotationCheck(self.json_file, summary.classes, self.report)
        for annotation in annotations:
            number = annotation.get("id")
            if type(number) is not int:
                self.report.error(
                    "annotation without id",
                    f"'{self.json_file}': annotation {str(annotation)[:200]} needs an integer "
                    "'id'.",
                )
                continue
            if number in seen:
                check.error("two annotations with one id", annotation, "has an id that another has")
                continue
            seen.add(number)
            # These two also where the image is unknown: pycocotools reads them of all.
            if type(annotation.get("image_id")) is not int:
                check.error(
                    "annotation without image_id",
                    annotation,
                    f"has the image_id {annotation.get('image_id')!r}; it must be the integer "
                    "'id' of an image",
                )
                continue
            image = self.image_of.get(annotation["image_id"])
            if not check.has_category(annotation, image):
                continue
            if image is None:
                self.report.note(
                    "annotation of no image",
                    f"'{self.json_file}', annotation {number}: there is no image with the id "
                    f"{annotation['image_id']}. {LEFT_OUT}",
                )
                continue
            if not check.is_usable(annotation, image):
                continue
            self.usable["annotations"].append(annotation)
            if annotation.get("iscrowd", 0):
                summary.num_crowds += 1
                continue
            if not check.is_left_out(annotation, image):
                with_objects.add(image["id"])
            summary.objects[summary.classes[annotation["category_id"]]] += 1
            if annotation.get("segmentation"):
                summary.num_masks += 1
                summary.num_rle += isinstance(annotation["segmentation"], dict)
        summary.num_empty_images = len(self.image_of) - len(with_objects)
        if summary.objects and check.reach <= 1 < max(map(_side, self.image_of.values())):
            self.report.error(
                "boxes within one pixel",
                f"'{self.json_file}': all boxes lie within the first pixel of their image. A bbox "
                "is in pixels, not in parts of the image's width and height.",
            )
        for name in summary.classes.values():
            if name not in summary.objects:
                self.report.note(
                    "class without objects",
                    f"'{self.json_file}': no object has the class '{name}'.",
                )


def _side(image: Dict) -> int:
    """The longer one."""
    return max(image["height"], image["width"])
