"""Checks of the entries of a COCO json file about images, without opening the images."""

import os
from functools import cached_property
from typing import Dict

from ..coco_file import cut, is_id
from .report import Report

LVIS = (
    " It has a 'coco_url', as in the files of LVIS. Those do not annotate all classes in all "
    "images, so COCO's AP of them is wrong, and LVIS's own evaluation is not supported."
)


class ImageEntryCheck:
    """Adds what is wrong with entries about images to a report."""

    def __init__(self, json_file: str, image_root: str, report: Report) -> None:
        """Check nothing yet.

        Args:
            json_file: that the entries are in.
            image_root: the folder that their file names start from.
            report: gets errors and notes.
        """
        self.json_file, self.image_root, self.report = json_file, image_root, report

    def is_usable(self, image: Dict) -> bool:
        """Whether an entry has an id, a file name and a size; every mistake is reported."""
        name, where = image.get("file_name"), f"'{self.json_file}'"
        fine = True
        if not isinstance(name, str) or not name:
            fine, name = False, cut(image, 200)
            lvis = LVIS if "coco_url" in image else ""
            self.report.error(
                "image without file_name", f"{where}: image {name} has no 'file_name'.{lvis}"
            )
        if not is_id(image.get("id")):
            fine = False
            self.report.error(
                "image without id", f"{where}: image '{name}' needs an 'id', integer or text."
            )
        for key in ("height", "width"):
            if type(image.get(key)) is not int or image[key] < 1:
                fine = False
                self.report.error(
                    "image without size",
                    f"{where}: image '{name}' needs its '{key}' in pixels, a whole number above 0, "
                    f"not {cut(image.get(key))}.",
                )
        return fine

    def report_missing(self, name: str) -> None:
        """Report that no file has the name of an image."""
        path = os.path.join(self.image_root, name)
        self.report.error("missing image", f"Image '{path}' does not exist.{self._hint(name)}")

    def _hint(self, name: str) -> str:
        """Say where the image may be instead."""
        if "\\" in name:
            return " Write '/' in its file_name, not '\\'."
        found = self._files.get(os.path.basename(name).lower())
        if found is None or os.path.normpath(found) == os.path.normpath(name):
            return " Is this the folder that its file_name starts from?"
        return f" There is '{os.path.join(self.image_root, found)}': correct the file_name."

    @cached_property
    def _files(self) -> Dict[str, str]:
        """The files below the folder of the images, by lower-case name."""
        return {
            name.lower(): os.path.relpath(os.path.join(folder, name), self.image_root)
            for folder, _, names in os.walk(self.image_root)
            for name in names
        }
