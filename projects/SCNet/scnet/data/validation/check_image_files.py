"""Opening the images, masks and semantic maps of a data set, as training will, to check them."""

import hashlib
from typing import Dict, Iterable, Iterator, Tuple

from detectron2.data import detection_utils as utils
from detectron2.structures import Boxes, BoxMode, pairwise_iou
from detectron2.utils.file_io import PathManager
from pycocotools import mask as mask_util
from torch import tensor

from ..mapper import SCNetDatasetMapper
from ..masks import area, to_rle
from .report import Report

MIN_AGREEMENT = 0.5  # IoU of an object's box with the box around its mask


def check_image_files(
    records: Iterable[Dict], mapper: SCNetDatasetMapper, report: Report, seen: Dict[bytes, str]
) -> Iterator[Tuple[Dict, bool]]:
    """Open every image, and report what is wrong with it.

    Args:
        records: of :func:`scnet.data.datasets.loading.load_usable`.
        mapper: of the training.
        report: gets errors and notes.
        seen: a digest of the content of each image and its path; grows. Shared by data sets, it
            finds images that are in several.

    Yields:
        the records, when they have been looked at, and whether their image can be drawn: it was
        read, and has the right size.
    """
    for record in records:
        drawable = _check_image(record, report, mapper)
        if drawable:
            _check_masks(record, report)
            _check_training(record, mapper, report)
            with PathManager.open(record["file_name"], "rb") as f:
                digest = hashlib.sha1(f.read()).digest()
            other = seen.setdefault(digest, record["file_name"])
            if other != record["file_name"]:
                report.note(
                    "same image twice",
                    f"Image '{record['file_name']}' has the same content as '{other}'.",
                    record["file_name"],
                    other,
                )
        yield record, drawable


def _check_image(record: Dict, report: Report, mapper: SCNetDatasetMapper) -> bool:
    """Report an image that cannot be read, or has another size than the json says.

    Returns:
        whether it is all right.
    """
    try:
        mapper.read(record)
    except utils.SizeMismatchError as error:
        report.error("wrong size", str(error))
        return False
    except (OSError, ValueError) as error:
        report.error("unreadable image", str(error))
        return False
    return True


def _check_masks(record: Dict, report: Report) -> None:
    """Report masks without pixels, and boxes that do not fit their masks."""
    size = record["height"], record["width"]
    for annotation in record["annotations"]:
        if "segmentation" not in annotation or annotation.get("iscrowd", 0):
            continue
        rle = to_rle(annotation["segmentation"], *size)
        image = record["file_name"]
        where = f"Image '{image}': an object with the bbox {annotation['bbox']}"
        if not area(rle):
            report.note("mask without pixels", f"{where} has a mask without pixels.", image)
            continue
        boxes = (
            BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
            for box in (annotation["bbox"], mask_util.toBbox(rle).tolist())
        )
        agreement = pairwise_iou(*(Boxes(tensor([box])) for box in boxes)).item()
        if agreement < MIN_AGREEMENT:
            report.note(
                "box that does not fit its mask",
                f"{where} has its mask elsewhere, with an IoU of {agreement:.2f}. A bbox is "
                "[x, y, width, height].",
                image,
            )


def _check_training(record: Dict, mapper: SCNetDatasetMapper, report: Report) -> None:
    """Report what the mapper of the training refuses."""
    try:
        mapper(record)
    except KeyError as error:  # a missing semantic map; the others are reported when they load
        report.error("semantic map", error.args[0])
    except (OSError, ValueError) as error:
        kind = "semantic map" if "map '" in str(error) else "not fit for training"
        report.error(kind, str(error))
