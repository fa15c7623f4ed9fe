"""The ids of images and categories in what is written in COCO format."""

from pathlib import Path
from typing import List, Optional, Sequence, Union

from ..data.content import read_content
from .inputs import Input


class CocoIds:
    """The ids of images and categories in what is written in COCO format.

    Attributes:
        category_ids: of the classes, in their order.
    """

    def __init__(self, names: List[str], annotations: Optional[str] = None):
        """Read the ids.

        Args:
            names: of the classes.
            annotations: a COCO json with the images, found by their file names, and the
                categories, found by their names: the ids are taken from it. Without it images
                are numbered from 1 in their order, categories from 1 in that of ``names``.

        Raises:
            FileNotFoundError: there is no such json.
            ValueError: a class is no category of the json, or it is not in COCO's format.
        """
        self.annotations, self.count = annotations, 0
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

    def check(self, inputs: Sequence[Input]) -> None:
        """Make sure that the json has all inputs.

        Raises:
            ValueError: it has not.
        """
        if not self.annotations:
            return
        unknown = [x.file_name for x in inputs if self._find(x) is None]
        if unknown:
            others = f", nor {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise ValueError(
                f"'{self.annotations}' has no image '{unknown[0]}'{others}. Leave them out of "
                "--input, or leave out --annotations."
            )

    def next(self, source: Input) -> Union[None, int, str]:
        """The id of the next image.

        Raises:
            ValueError: it is not in the json.
        """
        self.count += 1
        self.check([source])
        return self._find(source) if self.annotations else self.count

    def _find(self, source: Input) -> Union[None, int, str]:
        """Find the image by the longest end of its path that is a file name of the json."""
        parts = Path(source.file_name).parts
        ends = (parts[k:] for k in range(len(parts)))
        return next((self.image_ids[end] for end in ends if end in self.image_ids), None)
