"""Writing what was predicted as results in COCO format."""

import json
import logging
import os
from typing import Dict, List, Optional, Sequence

from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances

from ..whole_files import naming, place_beside
from .coco_ids import CocoIds
from .inputs import Frame, Input, InputVideo
from .mask_formats import to_rle
from .outputs import Writer, by_score

logger = logging.getLogger(__name__)


class CocoResults(Writer):
    """Writes a json file of results in COCO format.

    :func:`scnet.inference.load_results` reads it for pycocotools. Each object has ``image_id``,
    ``category_id``, ``bbox`` (x, y, width, height), ``score``, ``segmentation`` (RLE) if the model
    predicts masks, and beside that ``file_name``, ``category_name`` and, in a video, ``frame`` and
    perhaps ``track_id``. The objects of an image come by falling score.

    They are written as they come, beside the file, which has its name when all are there. If an
    error ends it before, they stay there, and the log says so.
    """

    def __init__(self, path: str, names: List[str], annotations: Optional[str] = None):
        """Read the ids; nothing is written yet.

        Args:
            path: of the file.
            names: of the classes.
            annotations: as of :class:`CocoIds`, with its errors.
        """
        self.path, self.names = path, names
        self.ids = CocoIds(names, annotations)

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [self.path]

    def check(self, inputs: Sequence[Input]) -> None:
        """Make sure that the json has all inputs; see :meth:`CocoIds.check`."""
        self.ids.check(inputs)

    def __enter__(self) -> "CocoResults":
        """Begin the file.

        Raises:
            OSError: it cannot be written.
        """
        with naming(self.path):
            self.beside = place_beside(self.path)
            self.file = open(self.beside, "xb")
        self.file.write(b"[")
        return self

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write what was found in the next frame.

        Raises:
            ValueError: the image is not in the json.
            OSError: the file cannot be written.
        """
        image_id = self.ids.next(frame.source)
        fields = dict(instances.get_fields())
        masks = fields.pop("pred_masks", None)  # bitmaps would be copied when they are sorted
        found = instances_to_coco_json(Instances(instances.image_size, **fields), image_id)
        results = []
        for k in by_score(instances):
            x = found[k]
            if masks is not None:
                x["segmentation"] = to_rle(masks[k])
            index = x["category_id"]
            x["category_id"] = self.ids.category_ids[index]
            x["category_name"] = self.names[index]
            x["file_name"] = frame.source.file_name
            if isinstance(frame.source, InputVideo):
                x["frame"] = frame.number
            if instances.has("track_ids") and instances.track_ids[k]:
                x["track_id"] = int(instances.track_ids[k])
            results.append(x)
        self._append(results)

    def _append(self, results: List[Dict]) -> None:
        """Write results, and the end of the list, over which the next ones are written."""
        is_first = self.file.tell() == 1
        texts = [json.dumps(x).encode() for x in results]
        with naming(self.path):
            if texts:
                self.file.write((b"\n" if is_first else b",\n") + b",\n".join(texts))
            end = self.file.tell()
            self.file.write(b"\n]\n")
            self.file.flush()
            self.file.seek(end)

    def __exit__(self, *error) -> None:
        if error[0] is None:
            self.close()
            return
        with naming(self.path):
            self.file.close()
        if not self.ids.count:
            os.unlink(self.beside)
            return
        logger.warning(f"What was found before the error is in '{self.beside}'.")

    def close(self) -> None:
        """Finish the file, and give it its name.

        Raises:
            OSError: it cannot be written.
        """
        self._append([])
        with naming(self.path):
            self.file.close()
            os.replace(self.beside, self.path)
