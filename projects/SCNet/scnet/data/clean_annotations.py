"""The clean form of the annotations of a COCO json file, which the evaluation counts."""

from typing import Any, Dict, List, Tuple

from . import masks
from .coco_file import Content

# Tools differ in how they measure an area, at the borders of small masks most of all.
FACTOR, PIXELS = 2, 100


def clean_annotations(
    content: Content, crowds_are_objects: bool = False
) -> Tuple[List[Dict], List[str]]:
    """Copy the annotations that training uses too, with what COCO's evaluation needs of each.

    - "id" is 1, 2, ...: pycocotools takes a match with the object 0 for none.
    - "iscrowd" is 0 or 1; where it is missing, 0.
    - "area" is that of the json if it is a number above 0 that fits the mask, else the number of
      pixels of the mask. Without a mask the box takes its place, but the area may be smaller.
    - Polygons with fewer than three points are left out, and so are objects with no other polygons
      and annotations of no image.

    Args:
        content: of a file without errors; see :func:`scnet.data.validation.check_json.check_json`.
        crowds_are_objects: "iscrowd" is 0 for all (DATASETS.CROWDS_ARE_OBJECTS).

    Returns:
        the annotations, and a sentence about each kind of change.
    """
    images = {x["id"]: x for x in content["images"]}
    cleaned: List[Dict] = []
    measured = 0
    for annotation in content["annotations"]:
        image = images.get(annotation["image_id"])
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, list) and segmentation:
            segmentation = [p for p in segmentation if masks.is_valid_polygon(p)]
            if not segmentation:
                continue
        if image is None:
            continue
        clean = {"iscrowd": 0, **annotation, "id": len(cleaned) + 1}
        if "segmentation" in annotation:
            clean["segmentation"] = segmentation
        if crowds_are_objects:
            clean["iscrowd"] = 0
        clean["area"] = _area(clean, image)
        measured += clean["area"] is not annotation.get("area")
        cleaned.append(clean)
    left_out = len(content["annotations"]) - len(cleaned)
    notes = []
    if measured:
        notes.append(
            f"{measured} objects have no 'area', or one that does not fit their mask or box. "
            "That of the mask or box is used."
        )
    if left_out:
        notes.append(f"{left_out} annotations without image or valid polygon are left out.")
    return cleaned, notes


def _area(annotation: Dict, image: Dict) -> Any:
    """The area of an object in pixels: the given one if it can be right."""
    area, segmentation = annotation.get("area"), annotation.get("segmentation")
    if segmentation:
        rle = masks.to_rle(segmentation, image["height"], image["width"])
        pixels = masks.area(rle)
        at_least = pixels
    else:
        pixels = annotation["bbox"][2] * annotation["bbox"][3]
        at_least = 0
    fits = (
        masks.is_number(area)
        and area > 0
        and area <= FACTOR * pixels + PIXELS
        and at_least <= FACTOR * area + PIXELS
    )
    return area if fits else float(pixels)
