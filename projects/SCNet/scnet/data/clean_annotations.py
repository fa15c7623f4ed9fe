"""The annotations of a COCO json file that count, in training and in the evaluation."""

from typing import Any, Dict, List, Tuple

from . import masks
from .coco_file import Content

# Tools differ in how they measure an area, at the borders of small masks most of all.
FACTOR, PIXELS = 2, 100


def usable_mask(annotation: Dict) -> Any:
    """The segmentation of an annotation, without polygons of fewer than three points.

    Args:
        annotation: in COCO's form, without errors; see
            :func:`scnet.data.validation.check_json.check_json`.

    Returns:
        an RLE or a list of polygons; None or an empty list if the annotation has no mask; False if
        all its polygons are left out, and the object with them.
    """
    mask = annotation.get("segmentation")
    if isinstance(mask, list) and mask:
        return [p for p in mask if masks.is_valid_polygon(p)] or False
    return mask


def clean_annotations(content: Content) -> Tuple[List[Dict], List[str]]:
    """Copy the annotations that are usable and of an image, with what COCO's evaluation needs.

    - "id" is 1, 2, ...: pycocotools takes a match with the object 0 for none.
    - "area" is that of the json if it is a number above 0 that fits the mask, else the number of
      pixels of the mask. Without a mask the box takes its place, but the area may be smaller.

    Args:
        content: of :func:`scnet.data.content.read_content`, without errors.

    Returns:
        the annotations, and a sentence about each kind of change.
    """
    images = {x["id"]: x for x in content["images"]}
    annotations = content.get("annotations", [])
    cleaned = [
        {"iscrowd": 0, **x, **({"segmentation": mask} if "segmentation" in x else {})}
        for x in annotations
        if x["image_id"] in images and (mask := usable_mask(x)) is not False
    ]
    measured = 0
    for k, clean in enumerate(cleaned):
        area = _area(clean, images[clean["image_id"]])
        measured += area is not clean.get("area")
        clean.update(id=k + 1, area=area)
    left_out = len(annotations) - len(cleaned)
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
