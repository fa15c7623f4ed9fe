"""Checking whether data sets go together, and with the model."""

from typing import List, Mapping, Optional, Sequence, Set

from .check_json import CocoSummary
from .report import Report


def check_sets(
    summaries: Mapping[str, Optional[CocoSummary]],
    classes: Mapping[str, List[str]],
    train: Sequence[str],
    test: Sequence[str],
    masks: bool,
    limit: int,
) -> Report:
    """Collect the errors and notes of all data sets, and of how they go together.

    Args:
        summaries: by the names of the data sets; None where there is no json to check.
        classes: the names of the classes of each data set.
        train, test: names of the data sets to train and to evaluate on.
        masks: whether the model predicts masks.
        limit: how many detections an image may have (TEST.DETECTIONS_PER_IMAGE).
    """
    report = Report()
    if not summaries:
        report.error("no data", "DATASETS.TRAIN and DATASETS.TEST are empty: there is no data.")
    for name, found in summaries.items():
        if found:
            _check_one(found, name in train, masks, report)
            if name in test:
                _note_more_objects_than(limit, found, report)
    if not report.errors:
        _compare_classes(classes, report)
        _compare_images(_images(summaries, train), _images(summaries, test), report)
    return report


def _check_one(found: CocoSummary, train: bool, masks: bool, report: Report) -> None:
    """Report what is wrong with one data set for this model."""
    report.merge(found.report)
    where = f"'{found.json_file}'"
    nothing = found.num_empty_images == found.num_images
    if train and nothing and not found.report.errors:
        report.error("no objects", f"{where} has no annotations of objects to train on.")
    if masks and found.num_masks < found.num_objects:
        report.error(
            "boxes without masks",
            f"{where}: {found.num_masks} of {found.num_objects} objects have a mask "
            "('segmentation'), but the model learns masks. "
            "Annotate them, or set MODEL.MASK_ON False to find boxes alone.",
        )


def _note_more_objects_than(limit: int, found: CocoSummary, report: Report) -> None:
    """Note images in which not all objects can be found."""
    counts = [n for n in found.per_image.values() if n > limit]
    if counts:
        possible = sum(min(n, limit) for n in found.per_image.values()) / found.num_objects
        report.note(
            "more objects than detections",
            f"'{found.json_file}': {len(counts)} images have more objects than "
            f"TEST.DETECTIONS_PER_IMAGE {limit}, up to {max(counts)}. At most "
            f"{100 * possible:.1f} % of all objects can be found, which limits AR and AP. Set "
            f"the key to {max(counts)} or more.",
        )


def _compare_classes(classes: Mapping[str, List[str]], report: Report) -> None:
    """Report data sets whose classes differ from those of the first."""
    (first, expected), *others = classes.items()
    for name, names in others:
        if names != expected:
            report.error(
                "different classes",
                f"'{name}' has the classes {names[:20]}, but '{first}' has "
                f"{expected[:20]}. All sets must have the same, ordered by their ids.",
            )


def _compare_images(train: Set[str], test: Set[str], report: Report) -> None:
    """Note images that are both trained and evaluated on."""
    for path in sorted(train & test):
        report.note(
            "image in training and validation",
            f"Image '{path}' is in training and validation: its AP says little about new images.",
            path,
        )


def _images(summaries: Mapping[str, Optional[CocoSummary]], names: Sequence[str]) -> Set[str]:
    """The paths of the images of some data sets."""
    found = [summaries[name] for name in names]
    return {path for summary in found if summary for path in summary.files}
