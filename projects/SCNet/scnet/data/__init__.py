"""Data sets, their registration, and the mapper. Importing it registers the built-in sets."""

import os

from .datasets import coco_stuff, shapes
from .datasets.coco_json import class_names, register_coco_json
from .image import read_image
from .mapper import SCNetDatasetMapper

coco_stuff.register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
shapes.register_all()
