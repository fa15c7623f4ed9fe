"""The ground truth of an evaluation, in the clean form that COCO's evaluation can count."""

import contextlib
import io
from typing import Dict, List

from pycocotools.coco import COCO

from ...data.clean_annotations import clean_annotations
from ...data.coco_file import Content


class GroundTruth(COCO):
    """Holds clean annotations, with images and categories numbered from 1 on.

    The ids of the json may be text, or larger than what NumPy and faster-coco-eval can hold, so
    the evaluation counts with numbers. They come in the order of the ids.

    Attributes:
        image_numbers, category_numbers: by the ids of the json.
        notes: what was changed, a sentence each.
    """

    def __init__(self, content: Content) -> None:
        """Bring the content of a COCO json file into this form; see :func:`clean_annotations`."""
        super().__init__()
        self.image_numbers, self.category_numbers = (
            {x: k for k, x in enumerate(sorted({x["id"] for x in content[part]}), start=1)}
            for part in ("images", "categories")
        )
        annotations, self.notes = clean_annotations(content)
        self.dataset = {
            **content,
            "images": [{**x, "id": self.image_numbers[x["id"]]} for x in content["images"]],
            "categories": [
                {**x, "id": self.category_numbers[x["id"]]} for x in content["categories"]
            ],
            "annotations": [self._numbered(x) for x in annotations],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            self.createIndex()

    def loadRes(self, results: List[Dict]) -> COCO:
        """Take detections in COCO's result format, with the ids of the json; leave them as is."""
        return super().loadRes([self._numbered(x) for x in results])

    def _numbered(self, x: Dict) -> Dict:
        """Copy an annotation or a detection, with numbers in place of ids."""
        return {
            **x,
            "image_id": self.image_numbers[x["image_id"]],
            "category_id": self.category_numbers[x["category_id"]],
        }
