"""The content of a COCO json file as the checks, the training and the evaluation read it."""

from typing import List, NamedTuple, Optional, Tuple

from .canonical_form import canonical_form
from .coco_file import Content, is_id, read_coco_file
from .collector import paused_collector
from .image_names import find_images


class Reading(NamedTuple):
    """How the json file of a data set is to be read.

    Attributes:
        crowds_are_objects: see DATASETS.CROWDS_ARE_OBJECTS.
        classes_left_out: see DATASETS.CLASSES_LEFT_OUT.
    """

    crowds_are_objects: Optional[bool] = None
    classes_left_out: Tuple[str, ...] = ()


AS_IT_IS = Reading()


@paused_collector()
def read_content(
    json_file: str, image_root: Optional[str] = None, reading: Reading = AS_IT_IS
) -> Tuple[Content, List[str]]:
    """Read a json file, with its values in COCO's forms.

    What has errors is in the content, too; :mod:`scnet.data.validation` reports them.

    Args:
        json_file: in COCO's format for instances.
        image_root: the folder of the images. Where it is given, file names become those of the
            files; see :func:`find_images`.
        reading: the classes that are left out, and what crowds are.

    Returns:
        the content, and a sentence about each kind of change.

    Raises:
        ValueError: see :func:`read_coco_file`; or there is no class of a name to leave out.
    """
    content, notes = canonical_form(read_coco_file(json_file))
    if image_root is not None:
        images, more = find_images(content["images"], image_root)
        content, notes = {**content, "images": images}, notes + more
    if reading.classes_left_out:
        content, note = _without_classes(content, reading.classes_left_out, json_file)
        notes.append(note)
    if reading.crowds_are_objects:
        objects = [
            {**x, "iscrowd": 0} if x.get("iscrowd") == 1 else x
            for x in content.get("annotations", [])
        ]
        content = {**content, "annotations": objects}
    return content, notes


def _without_classes(
    content: Content, names: Tuple[str, ...], json_file: str
) -> Tuple[Content, str]:
    """Leave out classes and their annotations; say how many these are."""
    known = [x.get("name") for x in content["categories"]]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"DATASETS.CLASSES_LEFT_OUT names '{unknown[0]}', but '{json_file}' has the classes "
            f"{known[:20]}."
        )
    ids = {x["id"] for x in content["categories"] if x.get("name") in names and is_id(x.get("id"))}
    annotations = content.get("annotations", [])
    kept = [x for x in annotations if not (is_id(x.get("category_id")) and x["category_id"] in ids)]
    categories = [x for x in content["categories"] if x.get("name") not in names]
    note = f"Left out: the classes {list(names)}, with {len(annotations) - len(kept)} annotations."
    return {**content, "categories": categories, "annotations": kept}, note
