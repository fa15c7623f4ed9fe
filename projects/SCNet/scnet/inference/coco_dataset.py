"""Writing what was predicted as a data set in COCO format."""

import json
import logging
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from detectron2.structures import BoxMode, Instances
from pycocotools import mask as mask_util

from ..whole_files import whole_file
from .coco_ids import CocoIds
from .inputs import Frame, Input, InputImage
from .mask_formats import to_rle
from .outputs import Writer, by_score
from .polygons import to_polygons

logger = logging.getLogger(__name__)


class CocoDataset(Writer):
    """Writes a json file with images, categories and annotations, to be corrected or trained on.

    Each annotation has its ``score`` too. Objects of an image come by falling score.
    """

    def __init__(
        self,
        path: str,
        names: List[str],
        annotations: Optional[str] = None,
        tolerance: Optional[float] = None,
    ):
        """Read the ids; nothing is written yet.

        Args:
            path: of the file.
            names: of the classes.
            annotations: as of :class:`CocoIds`, with its errors.
            tolerance: in pixels, makes masks polygons, see :func:`to_polygons`; None makes all RLE.

        Raises:
            ValueError: the tolerance is less than 0.
        """
        if tolerance is not None and not tolerance >= 0:
            raise ValueError(f"--polygons must be 0 or more pixels, not {tolerance}.")
        self.path, self.names, self.tolerance = path, names, tolerance
        self.ids = CocoIds(names, annotations)
        self.images: List[Dict] = []
        self.count = self.holed = self.empty = 0

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [self.path]

    def check(self, inputs: Sequence[Input]) -> None:
        """Make sure that the inputs are images, each with a name of its own and an id.

        Raises:
            ValueError: one is not.
        """
        self.ids.check(inputs)
        seen: Dict[str, str] = {}
        for x in inputs:
            if not isinstance(x, InputImage):
                raise ValueError(f"'{x.file_name}' is no image, and --coco is for images.")
            name = name_in_folder(x)
            if name in seen:
                raise ValueError(
                    f"'{seen[name]}' and '{x.file_name}' would both be '{name}' in '{self.path}'. "
                    "Predict them into different files, or give the folder that both are in."
                )
            seen[name] = x.file_name

    def __enter__(self) -> "CocoDataset":
        """Begin the file.

        Raises:
            OSError: it cannot be written.
        """
        self.whole = whole_file(self.path)
        self.file = self.whole.__enter__()
        categories = [{"id": i, "name": n} for i, n in zip(self.ids.category_ids, self.names)]
        self.file.write(f'{{"categories": {json.dumps(categories)},\n"annotations": [')
        return self

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write what was found in the next image.

        Raises:
            ValueError: the image is not in the json; or polygons are asked for, and the model
                predicts no masks.
            OSError: the file cannot be written.
        """
        assert isinstance(frame.source, InputImage)  # see check
        height, width = instances.image_size
        image_id, name = self.ids.next(frame.source), name_in_folder(frame.source)
        size = {"height": height, "width": width}
        self.images.append({"id": image_id, "file_name": name, **size})
        boxes = instances.pred_boxes.tensor.tolist()
        for k in by_score(instances):
            box = BoxMode.convert(boxes[k], BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
            shape = {"bbox": box, "area": box[2] * box[3]}
            if instances.has("pred_masks"):
                rle = to_rle(instances.pred_masks[k])
                if not mask_util.area(rle):
                    self.empty += 1
                    continue
                shape = self._shape(rle)
            elif self.tolerance is not None:
                raise ValueError("The model predicts no masks, of which --polygons could be made.")
            annotation = {
                "id": self.count + 1,
                "image_id": image_id,
                "category_id": self.ids.category_ids[int(instances.pred_classes[k])],
                "iscrowd": 0,
                "score": float(instances.scores[k]),
                **shape,
            }
            self.file.write((",\n" if self.count else "\n") + json.dumps(annotation))
            self.count += 1

    def _shape(self, rle: Dict) -> Dict:
        """The mask as an annotation has it, with its box and the number of its pixels."""
        polygons = None if self.tolerance is None else to_polygons(rle, self.tolerance)
        self.holed += self.tolerance is not None and polygons is None
        return {
            "bbox": mask_util.toBbox(rle).tolist(),
            "area": int(mask_util.area(rle)),
            "segmentation": rle if polygons is None else polygons,
        }

    def __exit__(self, *error) -> None:
        """Finish the file, and say what it does not have; after an error there is none."""
        if error[0] is None:
            self.file.write(f'\n],\n"images": {json.dumps(self.images)}}}\n')
        self.whole.__exit__(*error)
        if error[0] is not None:
            return
        if self.holed:
            logger.warning(
                f"{self.holed} of {self.count} masks in '{self.path}' have holes and are RLE: "
                "polygons in COCO format have no holes."
            )
        if self.empty:
            logger.warning(f"{self.empty} objects without a pixel are not in '{self.path}'.")


def name_in_folder(image: InputImage) -> str:
    """The name of an image within the folder that was given, with / on all systems."""
    return Path(image.picture).with_suffix(Path(image.file_name).suffix).as_posix()
