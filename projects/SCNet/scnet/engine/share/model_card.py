"""The page of a shared model: what it finds, how well, and how to use it."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

import yaml
from tabulate import tabulate

from ..evaluation.results import METRICS
from ..report.statistics import Statistics, rows_of_classes

TITLES = {"segm": "masks", "bbox": "boxes"}


@dataclass
class Card:
    """What the page tells.

    Attributes:
        name: of the repository, "OWNER/NAME"; "" if there is none yet.
        config: the config that comes with the package and that the training began with, or "".
        class_names: of its classes.
        metrics: "segm" or "bbox" -> metric -> value in percent, of these weights; empty if they
            were not evaluated.
        data: what the training data and the test data hold, as far as they are here.
        versions: of the packages that it was trained with.
        license: as Hugging Face names it ("apache-2.0"); None if the author gives none.
        report: whether report.html is beside it.
    """

    name: str
    config: str
    class_names: Sequence[str]
    metrics: Dict[str, Dict[str, float]]
    data: Dict[str, Statistics]
    versions: Dict[str, str]
    license: Optional[str]
    report: bool

    def __str__(self) -> str:
        """The page, in Markdown, with the fields that Hugging Face reads before it."""
        fields = {
            "library_name": "detectron2-scnet",
            "pipeline_tag": "image-segmentation",
            "tags": ["scnet", "detectron2", "instance-segmentation"],
        }
        if self.license:
            fields = {"license": self.license, **fields}
        parts = [
            f"---\n{yaml.safe_dump(fields, sort_keys=False)}---",
            f"# {self.name.rpartition('/')[2] or 'Instance segmentation'}",
            self._what_it_is(),
            "## Use it",
            self._use(),
            "## How good it is",
            self._quality(),
            *self._data(),
            "## Versions",
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        return "\n\n".join(parts) + "\n"

    def _what_it_is(self) -> str:
        config = f" It began with the config `{self.config}`." if self.config else ""
        names = ", ".join(f"`{name}`" for name in self.class_names)
        return (
            "A model of [SCNet for Detectron2](https://arxiv.org/abs/2012.10150), which finds "
            f"objects in images and gives each a mask.{config} "
            f"Its {len(self.class_names)} classes: {names}."
        )

    def _use(self) -> str:
        weights = f"hf://{self.name}" if self.name else "model.safetensors"
        return (
            f"```bash\nscnet predict --weights {weights} --input photo.jpg --output pictures\n"
            "```\n\n```python\nfrom scnet import Predictor\n\n"
            f'instances = Predictor("{weights}", threshold=0.5)("photo.jpg")\n```'
        )

    def _quality(self) -> str:
        if not self.metrics:
            return "These weights were not evaluated."
        rows = [
            [TITLES[task], *(values.get(name, float("nan")) for name in METRICS)]
            for task, values in self.metrics.items()
        ]
        table = tabulate(rows, ["", *METRICS], tablefmt="github", floatfmt=".1f")
        more = "\n\n[report.html](report.html) is of the last evaluation." if self.report else ""
        return f"Average precision as COCO defines it, in percent:\n\n{table}{more}"

    def _data(self) -> List[str]:
        if not self.data:
            return []
        counts: List[List[Any]] = [
            [text, *(x.counts[text] for x in self.data.values())] for text in ("images", "objects")
        ]
        rows = [*counts, *([name, *n] for name, n in rows_of_classes([*self.data.values()]))]
        table = tabulate(rows, ["", *self.data], tablefmt="github", disable_numparse=[0])
        return ["## Data", table]
