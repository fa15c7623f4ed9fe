"""Checks of the annotations of a COCO json file, one by one."""

from typing import Any, Dict, List, Mapping, Optional, Set

from .. import masks
from ..coco_file import Id, cut, is_id, kind_of_ids
from .report import Report

LEFT_OUT = "It is left out."
FAR = 1e6  # pixels, more than any image has in a row; what is drawn there fails


class AnnotationCheck:
    """Adds what is wrong with annotations to a report.

    Attributes:
        json_file, classes, images, report: see :meth:`__init__`.
        reach: how far the boxes go to the right or down, in pixels; from all annotations so far.
        ids: of all annotations so far.
    """

    def __init__(
        self, json_file: str, classes: Dict[Id, str], images: Dict[Id, Dict], report: Report
    ) -> None:
        """Check nothing yet.

        Args:
            json_file: that the annotations are in.
            classes: names by category id.
            images: by their ids.
            report: gets errors and notes.
        """
        self._kind = kind_of_ids(images)
        self.json_file, self.classes, self.report = json_file, classes, report
        self.images = images
        self.reach = 0.0
        self.ids: Set[Id] = set()

    def is_usable(self, annotation: Dict, image: Optional[Dict]) -> bool:
        """Whether it can be trained on and evaluated; every mistake is reported.

        Args:
            annotation: from the file.
            image: whose id it has; None if there is none.
        """
        checks = [self._has_ids(annotation), self._has_category(annotation, image)]
        if image is not None:
            checks += [
                self._has_flags(annotation, image),
                self._has_box(annotation, image),
                self._has_mask(annotation, image),
            ]
        return all(checks)

    def _has_ids(self, annotation: Dict) -> bool:
        """Whether it has an id of its own and the id of an image, known or not."""
        number, image = annotation.get("id"), annotation.get("image_id")
        if not is_id(number):
            self.report.error(
                "annotation without id",
                f"'{self.json_file}': annotation {cut(annotation, 200)} needs an 'id', "
                "integer or text.",
            )
            return False
        if number in self.ids:
            text = "has an id that another has"
            return self._error("two annotations with one id", annotation, text)
        self.ids.add(number)
        if not is_id(image) or kind_of_ids([image]) != self._kind:
            text = f"has the image_id {cut(image)}; it must be the {self._kind} 'id' of an image"
            return self._error("annotation without image_id", annotation, text)
        return True

    def _has_category(self, annotation: Dict, image: Optional[Dict]) -> bool:
        """Whether its category is one of the classes."""
        category = annotation.get("category_id")
        if find(self.classes, category) is not None:
            return True
        known = list(self.classes)[:20]
        if category is None:
            text = f"has no category_id. Add it, one of {known}"
        else:
            text = (
                f"has category_id {cut(category)}, which is none of {known}. Correct it, or "
                "add the category"
            )
        return self._error("unknown category", annotation, text, image)

    def _has_flags(self, annotation: Dict, image: Dict) -> bool:
        """Whether its iscrowd is 0 or 1, and no other value says to ignore it."""
        fine = True
        if not find({0: True, 1: True}, annotation.get("iscrowd", 0)):
            text = f"has iscrowd {cut(annotation['iscrowd'])}; it must be 0 or 1"
            fine = self._error("iscrowd is neither 0 nor 1", annotation, text, image)
        if annotation.get("ignore"):
            text = "has 'ignore', which is not known here. Set 'iscrowd' to 1 instead"
            fine = self._error("'ignore' is set", annotation, text, image)
        area = annotation.get("area", 1)  # may be missing
        if not masks.is_number(area) or area <= 0:
            self.report.note(
                "area that cannot be",
                f"{self._where(annotation, image)} has the area {cut(area)}. Evaluation takes "
                "that of its mask or box.",
            )
        return fine

    @staticmethod
    def is_left_out(annotation: Dict, image: Dict) -> bool:
        """Whether Detectron2 drops the object: no area in the image, or no polygon with an area."""
        segmentation = annotation.get("segmentation")
        polygons = segmentation if isinstance(segmentation, list) else []
        without = bool(polygons) and not any(map(masks.is_valid_polygon, polygons))
        return without or _is_outside(annotation["bbox"], image)

    def _has_box(self, annotation: Dict, image: Dict) -> bool:
        """Whether its bbox is well formed; adds notes about odd ones."""
        box, kind = annotation.get("bbox"), "malformed box"
        if not isinstance(box, list) or len(box) != 4 or not masks.are_numbers(box):
            text = f"has the bbox {cut(box)}; it must be [x, y, width, height] in pixels"
            return self._error(kind, annotation, text, image)
        x, y, width, height = box
        if width < 0 or height < 0:
            text = f"has the bbox {box}; it must be [x, y, width, height], not two corners"
            return self._error(kind, annotation, text, image)
        if max(map(abs, box)) > FAR:
            text = f"has the bbox {box}, far outside any image; it must be in pixels"
            return self._error(kind, annotation, text, image)
        self.reach = max(self.reach, x + width, y + height)
        where = self._where(annotation, image)
        if width == 0 or height == 0:
            self.report.note("box without area", f"{where} has the bbox {box}. {LEFT_OUT}")
        elif _is_outside(box, image):
            self.report.note("box outside the image", f"{where} has the bbox {box}. {LEFT_OUT}")
        elif x < -1 or y < -1 or x + width > image["width"] + 1 or y + height > image["height"] + 1:
            self.report.note(
                "box over the border",
                f"{where} has the bbox {box} in an image of {image['width']} x {image['height']} "
                "(width x height). It is clipped. A bbox is [x, y, width, height].",
            )
        return True

    def _has_mask(self, annotation: Dict, image: Dict) -> bool:
        """Whether its segmentation, if it has one, is well formed; adds notes about odd ones."""
        segmentation = annotation.get("segmentation")
        if not segmentation:
            return True  # whether masks are needed depends on the model
        mistake = masks.find_mistake(segmentation, image["height"], image["width"])
        if mistake:
            return self._error("malformed mask", annotation, mistake, image, "segmentation")
        polygons = segmentation if isinstance(segmentation, list) else []
        short = sum(not masks.is_valid_polygon(p) for p in polygons)
        if short:
            left_out = LEFT_OUT if short == len(polygons) else "These are left out."
            self.report.note(
                "polygon with fewer than three points",
                f"{self._where(annotation, image)} has {short} polygons with fewer than three "
                f"points. {left_out}",
            )
        return True

    def _where(self, annotation: Dict, image: Optional[Dict]) -> str:
        """Name the file, the annotation and its image."""
        of_image = f" of '{image['file_name']}'" if image else ""
        return f"'{self.json_file}': annotation {annotation.get('id')}{of_image}"

    def _error(
        self, kind: str, annotation: Dict, text: str, image: Optional[Dict] = None, part: str = ""
    ) -> bool:
        """Add an error; return False, so that a check can return that.

        Args:
            kind: see :class:`Report`.
            text: the end of the sentence about the annotation.
            image: of the annotation, if it is known.
            part: of the annotation that the sentence is about, if not the whole.
        """
        part = f", its {part}" if part else ""
        self.report.error(kind, f"{self._where(annotation, image)}{part} {text}.")
        return False


def _is_outside(box: List[float], image: Dict) -> bool:
    """Whether a box (x, y, width, height) has no area within the image."""
    x, y, width, height = box
    inside = x < image["width"] and y < image["height"] and x + width > 0 and y + height > 0
    return not inside or width == 0 or height == 0


def find(table: Mapping[Any, Any], key: Any) -> Any:
    """Look up an id; None if it is unknown, or no id at all, as json may hold anything."""
    return table.get(key) if is_id(key) else None
