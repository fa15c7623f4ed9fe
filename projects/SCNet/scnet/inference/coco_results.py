"""Writing what was predicted as results in COCO format."""

import json
import logging
import os
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Union

from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances

from ..data.content import read_content
from ..whole_files import naming, place_beside
from .inputs import Frame, Input, InputVideo
from .mask_formats import to_rle
from .outputs import Writer, by_score

logger = logging.getLogger(__name__)


class CocoResults(Writer):
    """Writes a json file of results in COCO format.

    :func:`scnet.inference.load_results` reads it for pycocotools. Each object has ``image_id``,
    ``category_id``, ``bbox`` (x, y, width, height), ``score``, ``segmentation`` (RLE) if the model
    predicts masks, and beside that ``file_name``, ``category_name`` and, in a video, ``frame``. The
    objects of an image come by falling score.

    They are written as they come, beside the file, which has its name when all are there. If an
    error ends it before, they stay there, and the log says so.
    """

    def __init__(self, path: str, names: List[str], annotations: Optional[str] = None):
        """Read the ids; nothing is written yet.

        Args:
            path: of the file.
            names: of the classes.
            annotations: a COCO json with the images, found by their file names, and the
                categories, found by their names: the ids are taken from it. Without it images
                are numbered from 1 in their order, categories from 1 in that of ``names``.

        Raises:
            FileNotFoundError: there is no such json.
            ValueError: a class is no category of the json, or it is not in COCO's format.
        """
        self.path, self.names, self.annotations = path, names, annotations
        self.count = 0
        self.category_ids = list(range(1, len(names) + 1))
        if annotations:
            content, _ = read_content(annotations)
            try:
                self.image_ids = {Path(x["file_name"]).parts: x["id"] for x in content["images"]}
                ids = {x["name"]: x["id"] for x in content["categories"]}
            except KeyError as error:
                raise ValueError(
                    f"'{annotations}' has an image or a category without {error}."
                ) from error
            unknown = [name for name in names if name not in ids]
            if unknown:
                raise ValueError(f"'{annotations}' has no category '{unknown[0]}'.")
            self.category_ids = [ids[name] for name in names]

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [self.path]

    def check(self, inputs: Sequence[Input]) -> None:
        """Make sure that the json has all inputs.

        Raises:
            ValueError: it has not.
        """
        if not self.annotations:
            return
        unknown = [x.file_name for x in inputs if self._image_id(x) is None]
        if unknown:
            others = f", nor {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise ValueError(
                f"'{self.annotations}' has no image '{unknown[0]}'{others}. Leave them out of "
                "--input, or leave out --annotations."
            )

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
        self.count += 1
        image_id = self._image_id(frame.source) if self.annotations else self.count
        if image_id is None:
            self.check([frame.source])
        fields = dict(instances.get_fields())
        masks = fields.pop("pred_masks", None)  # bitmaps would be copied when they are sorted
        found = instances_to_coco_json(Instances(instances.image_size, **fields), image_id)
        results = []
        for k in by_score(instances):
            x = found[k]
            if masks is not None:
                x["segmentation"] = to_rle(masks[k])
            index = x["category_id"]
            x["category_id"] = self.category_ids[index]
            x["category_name"] = self.names[index]
            x["file_name"] = frame.source.file_name
            if isinstance(frame.source, InputVideo):
                x["frame"] = frame.number
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

    def _image_id(self, source: Input) -> Union[None, int, str]:
        """Find the image by the longest end of its path that is a file name of the json."""
        parts = Path(source.file_name).parts
        ends = (parts[k:] for k in range(len(parts)))
        return next((self.image_ids[end] for end in ends if end in self.image_ids), None)

    def __exit__(self, *error) -> None:
        if error[0] is None:
            self.close()
            return
        with naming(self.path):
            self.file.close()
        if not self.count:
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
