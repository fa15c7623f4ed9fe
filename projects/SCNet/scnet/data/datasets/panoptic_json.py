"""Reading panoptic annotations in COCO format, for the targets of the semantic branch.

The semantic classes are those of the instances first, in their order, then the stuff classes in
the order of their category ids.
"""

import json
import os
from typing import Dict, List, Tuple

from detectron2.data import MetadataCatalog

from ..coco_file import is_id


def add_panoptic(records: List[Dict], name: str, panoptic_json: str, panoptic_root: str) -> None:
    """Give each image its panoptic PNG and the segments in it.

    Args:
        records: a dict of Detectron2 per image. It gets "pan_seg_file_name" and "segments_info",
            whose "category_id" are semantic classes.
        name: of the data set, whose metadata has the thing classes and gets the
            ``stuff_classes``: the names of all semantic classes.
        panoptic_json, panoptic_root: the annotations, and the folder of their PNGs.

    Raises:
        ValueError: the json is not in COCO's panoptic format, its things are not the categories
            of the instances, or it lacks an image.
        FileNotFoundError: a PNG does not exist.
    """
    categories, annotations = _read(panoptic_json)
    metadata = MetadataCatalog.get(name)
    thing_ids = metadata.thing_dataset_id_to_contiguous_id
    known = {number: metadata.thing_classes[k] for number, k in thing_ids.items()}
    # A thing by its id and name; what is a thing here and stuff there is wrong too.
    others = [
        c["name"]
        for c in categories
        if (known.get(c["id"]) != c["name"] if c["isthing"] else c["id"] in known)
    ]
    if others:
        raise ValueError(
            f"'{panoptic_json}' has the categories {others[:10]}, which do not go with those of "
            f"'{metadata.json_file}'. Both must have the same things, with the same ids and names."
        )
    stuff = sorted((c for c in categories if not c["isthing"]), key=lambda c: c["id"])
    classes = dict(thing_ids)
    classes.update((c["id"], len(thing_ids) + k) for k, c in enumerate(stuff))
    metadata.stuff_classes = metadata.thing_classes + [c["name"] for c in stuff]

    for record in records:
        annotation = annotations.get(record["image_id"])
        if annotation is None:
            raise ValueError(f"'{panoptic_json}' has nothing for image '{record['file_name']}'.")
        path = os.path.join(panoptic_root, annotation["file_name"])
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"Data set '{name}' has no panoptic map '{path}' for its image "
                f"'{record['file_name']}'."
            )
        unknown = {s["category_id"] for s in annotation["segments_info"]} - classes.keys()
        if unknown:
            raise ValueError(
                f"'{panoptic_json}': the segments of '{annotation['file_name']}' have the "
                f"category ids {sorted(unknown)}, which are no categories."
            )
        record["pan_seg_file_name"] = path
        record["segments_info"] = [
            {**s, "category_id": classes[s["category_id"]]} for s in annotation["segments_info"]
        ]


def _read(panoptic_json: str) -> Tuple[List[Dict], Dict[int, Dict]]:
    """Read the categories, and the annotations by image id.

    Raises:
        ValueError: the file is not in COCO's panoptic format.
    """
    try:
        with open(panoptic_json, encoding="utf-8") as f:
            content = json.load(f)
        categories = [
            {key: c[key] for key in ("id", "name", "isthing")} for c in content["categories"]
        ]
        annotations = {
            a["image_id"]: {"file_name": a["file_name"], "segments_info": a["segments_info"]}
            for a in content["annotations"]
        }
        segments = [s for a in annotations.values() for s in a["segments_info"]]
        numbers = [c["id"] for c in categories]
        numbers += [s[key] for s in segments for key in ("id", "category_id")]
        wrong = [x for x in numbers if type(x) is not int]
        if wrong:
            raise TypeError(f"the id {wrong[0]!r} is no integer")
        if not all(map(is_id, annotations)):
            raise TypeError("the image_id of an annotation is neither an integer nor text")
        if not all(type(a["file_name"]) is str for a in annotations.values()):
            raise TypeError("a file_name is no text")
        if len({c["id"] for c in categories}) < len(categories):
            raise TypeError("two categories have the same id")
    except KeyError as error:
        raise ValueError(
            f"'{panoptic_json}' is not in COCO's panoptic format: {error} is missing."
        ) from error
    except RecursionError as error:
        raise ValueError(
            f"'{panoptic_json}' is not in COCO's panoptic format: it is nested too deeply."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"'{panoptic_json}' is not in COCO's panoptic format: {error}.") from error
    return categories, annotations
