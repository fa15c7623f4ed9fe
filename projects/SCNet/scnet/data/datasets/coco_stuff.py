"""Registering COCO 2017 with the semantic maps of COCO-Stuff ("stuffthingmaps")."""

import os
from typing import List

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

from .coco_json import register_lazily

# The classes of COCO-Stuff's maps. A value is COCO's category id minus 1: the things have 0 to 90,
# with the gaps of COCO's ids, and the stuff classes have 91 to 181, in this order
# (https://github.com/nightrome/cocostuff, labels.txt). 182 does not occur.
STUFF = """
    banner blanket branch bridge building-other bush cabinet cage cardboard carpet ceiling-other
    ceiling-tile cloth clothes clouds counter cupboard curtain desk-stuff dirt door-stuff fence
    floor-marble floor-other floor-stone floor-tile floor-wood flower fog food-other fruit
    furniture-other grass gravel ground-other hill house leaves light mat metal mirror-stuff moss
    mountain mud napkin net paper pavement pillow plant-other plastic platform playingfield
    railing railroad river road rock roof rug salad sand sea shelf sky-other skyscraper snow
    solid-other stairs stone straw structural-other table tent textile-other towel tree vegetable
    wall-brick wall-concrete wall-other wall-panel wall-stone wall-tile wall-wood water-other
    waterdrops window-blind window-other wood
""".split()  # noqa: SIM905 - a name per line would hide the file
UNUSED = "unused"

HELP = (
    "The images and annotations are at https://cocodataset.org/#download, the semantic maps at "
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
    "stuffthingmaps_trainval2017.zip. They belong into DETECTRON2_DATASETS as "
    "coco/{annotations,train2017,val2017,stuffthingmaps/{train2017,val2017}}. To train without "
    "these maps, set DATASETS.TRAIN \"('coco_2017_train',)\": the semantic branch then learns from "
    "the objects."
)


def semantic_classes() -> List[str]:
    """The names of the values 0 to 182 of a map."""
    things = {c["id"]: c["name"] for c in COCO_CATEGORIES if c["isthing"]}
    return [*(things.get(k, UNUSED) for k in range(1, 92)), *STUFF, UNUSED]


def register_all(root: str) -> None:
    """Register coco_2017_{train,val}_stuffthingmaps below ``root``, Detectron2's data folder."""
    for split in ("train", "val"):
        name = f"coco_2017_{split}_stuffthingmaps"
        builtin = MetadataCatalog.get(f"coco_2017_{split}")
        MetadataCatalog.get(name).set(
            thing_classes=builtin.thing_classes,
            thing_colors=builtin.thing_colors,
            stuff_classes=semantic_classes(),
        )
        register_lazily(
            name,
            json_file=os.path.join(root, "coco", "annotations", f"instances_{split}2017.json"),
            image_root=os.path.join(root, "coco", f"{split}2017"),
            sem_seg_root=os.path.join(root, "coco", "stuffthingmaps", f"{split}2017"),
            help_text=HELP,
        )
