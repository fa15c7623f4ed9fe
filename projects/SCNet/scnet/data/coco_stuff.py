"""COCO 2017 with the semantic maps of COCO-Stuff ("stuffthingmaps")."""

import os

from detectron2.data import MetadataCatalog

from .coco_json import register_lazily

HELP = (
    "The images and annotations are at https://cocodataset.org/#download, the semantic maps at "
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
    "stuffthingmaps_trainval2017.zip. They belong into DETECTRON2_DATASETS as "
    "coco/{annotations,train2017,val2017,stuffthingmaps/{train2017,val2017}}. To train without "
    "these maps, set DATASETS.TRAIN \"('coco_2017_train',)\": the semantic branch then learns from "
    "the objects."
)


def register_all(root: str) -> None:
    """Register coco_2017_{train,val}_stuffthingmaps below ``root``, Detectron2's data folder."""
    for split in ("train", "val"):
        name = f"coco_2017_{split}_stuffthingmaps"
        builtin = MetadataCatalog.get(f"coco_2017_{split}")
        MetadataCatalog.get(name).set(
            thing_classes=builtin.thing_classes, thing_colors=builtin.thing_colors
        )
        register_lazily(
            name,
            json_file=os.path.join(root, "coco", "annotations", f"instances_{split}2017.json"),
            image_root=os.path.join(root, "coco", f"{split}2017"),
            sem_seg_root=os.path.join(root, "coco", "stuffthingmaps", f"{split}2017"),
            help_text=HELP,
        )
