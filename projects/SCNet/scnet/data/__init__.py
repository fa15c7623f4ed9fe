"""Data sets, and the way from their files to batches.

Importing this room registers the built-in data sets.
"""

import os

from .datasets import coco_stuff, shapes
from .datasets.class_names import class_names
from .datasets.coco_json import register_coco_json
from .image import convert_image, read_image
from .mapper import SCNetDatasetMapper

coco_stuff.register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
shapes.register_all()
