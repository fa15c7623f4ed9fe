"""What the data sets hold, as their check has counted it."""

from dataclasses import dataclass
from typing import Dict, Iterable, List, Sequence, Tuple

from ...data.datasets.catalog import summarize
from ...data.validation.report import shorten

Row = Tuple[str, List[int]]


@dataclass
class Statistics:
    """What a data set holds.

    Attributes:
        name: of the data set.
        counts: of images and objects, by what they are.
        objects: numbers of objects that are no crowds, by class.
        notes: of the check, a few of each kind.
    """

    name: str
    counts: Dict[str, int]
    objects: Dict[str, int]
    notes: List[str]


def statistics(names: Iterable[str]) -> List[Statistics]:
    """Count what data sets hold; those that have no json file in COCO's format are left out.

    A file is not read again if it has not changed since it was checked.
    """
    found = []
    for name in dict.fromkeys(names):
        summary = summarize(name)
        if summary is None:
            continue
        counts = {
            "images": summary.num_images,
            "images without objects": summary.num_empty_images,
            "objects": summary.num_objects,
            "objects with a mask": summary.num_masks,
            "crowds": summary.num_crowds,
        }
        objects = {x: summary.objects[x] for x in summary.classes.values()}
        found.append(Statistics(name, counts, objects, shorten(summary.report.notes)))
    return found


def rows_of_data(data: Sequence[Statistics]) -> List[Row]:
    """The counts, with a number of each data set."""
    return [(text, [x.counts[text] for x in data]) for text in data[0].counts]


def rows_of_classes(data: Sequence[Statistics]) -> List[Row]:
    """The objects of each class, with a number of each data set."""
    classes = dict.fromkeys(name for x in data for name in x.objects)
    return [(name, [x.objects.get(name, 0) for x in data]) for name in classes]
