"""The images to train on, and what is in them."""

import logging
from collections import Counter
from itertools import chain, repeat
from typing import Counter as Counts
from typing import Dict, Iterator, Sequence

from detectron2.data import MetadataCatalog
from detectron2.data.build import print_instances_class_histogram
from detectron2.data.detection_utils import check_metadata_consistency

from .datasets.loading import stream

logger = logging.getLogger(__name__)


def training_records(names: Sequence[str], filter_empty: bool) -> Iterator[Dict]:
    """Yield the dicts that Detectron2's ``get_detection_dataset_dicts`` returns, one at a time.

    That function has all of them in memory, which are several times as large as the json files.

    Args:
        names: of the data sets. In the end the log has a table of their objects by class.
        filter_empty: leave out images without an object that is no crowd.

    Raises:
        ValueError: there is no image to train on, or the data sets have different classes.
        OSError, ValueError, Exception: see :func:`scnet.data.datasets.loading.stream`.
    """
    objects: Counts[int] = Counter()
    left = removed = 0
    for record in chain.from_iterable(map(stream, names)):
        annotated = record.get("annotations")
        classes = [x["category_id"] for x in annotated or () if not x.get("iscrowd", 0)]
        if filter_empty and annotated is not None and not classes:
            removed += 1
            continue
        objects.update(classes)
        left += 1
        yield record
    if filter_empty:
        logger.info(f"Removed {removed} images with no usable annotations. {left} images left.")
    if not left:
        raise ValueError(f"There is no image to train on in the data sets {list(names)}.")
    things = [MetadataCatalog.get(name).get("thing_classes") for name in names]
    if objects and None not in things:
        check_metadata_consistency("thing_classes", names)
        annotations = (repeat({"category_id": k}, count) for k, count in objects.items())
        print_instances_class_histogram(
            [{"annotations": chain.from_iterable(annotations)}], things[0]
        )
