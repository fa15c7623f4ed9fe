#!/usr/bin/env python
"""Draw the instances that a model finds in images.

    python projects/SCNet/tools/predict.py --config-file C --input IMAGE_OR_FOLDER ... \
        --output FOLDER --opts MODEL.WEIGHTS path/to/model.pth
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Dict, List

import cv2
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor
from detectron2.utils.visualizer import ColorMode, Visualizer
from tqdm import tqdm

from scnet import get_cfg
from scnet.data import class_names
from scnet.engine import register_datasets

MIN_PICTURE_SIDE = 512  # pixels; pictures of smaller images are enlarged
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        help="images, folders of images, or names of registered data sets",
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where pictures go")
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="lowest score drawn (%(default)s)"
    )
    parser.add_argument("--limit", type=int, help="stop after this many images")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that exist")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs for the config, last"
    )
    return parser.parse_args()


def find_images(inputs: List[str]) -> Dict[str, str]:
    """The images to predict: path of the image -> path of its picture within the output folder.

    Raises:
        FileNotFoundError: an input is no file, folder or data set, or has no images.
        ValueError: two images would have the same picture.
    """
    images: Dict[str, str] = {}
    for source in inputs:
        path = Path(source)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            images.update({str(p): str(p.relative_to(path).with_suffix(".png")) for p in found})
        elif path.is_file():
            found = [path]
            images[source] = path.stem + ".png"
        elif source in DatasetCatalog:
            found = [Path(record["file_name"]) for record in DatasetCatalog.get(source)]
            images.update({str(p): p.stem + ".png" for p in found})
        else:
            raise FileNotFoundError(f"'{source}' is no image, folder or registered data set.")
        if not found:
            raise FileNotFoundError(f"'{source}' holds no images ({', '.join(IMAGE_SUFFIXES)}).")
    first: Dict[str, str] = {}
    for image, picture in images.items():
        if picture in first:
            raise ValueError(
                f"The pictures of '{first[picture]}' and '{image}' would both be '{picture}'. "
                "Predict them into different folders."
            )
        first[picture] = image
    return images


def main() -> None:
    args = parse_args()
    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    register_datasets(cfg)
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("No weights. Add --opts MODEL.WEIGHTS path/to/model.pth to the command.")

    images = dict(list(find_images(args.input).items())[: args.limit])
    existing = [p for p in images.values() if os.path.exists(os.path.join(args.output, p))]
    if existing and not args.overwrite:
        raise FileExistsError(
            f"'{args.output}' has {existing[0]} and {len(existing) - 1} more already. Choose "
            "another --output, or add --overwrite."
        )

    predictor = DefaultPredictor(cfg)
    metadata = MetadataCatalog.get("scnet_predict").set(thing_classes=class_names(cfg))
    for image_file, picture in tqdm(images.items(), desc="Predicting", unit="image"):
        image = read_image(image_file, format="BGR")
        instances = predictor(image)["instances"].to("cpu")
        instances = instances[instances.scores >= args.threshold]
        scale = max(1.0, MIN_PICTURE_SIDE / max(image.shape))  # labels need room
        visualizer = Visualizer(image[:, :, ::-1], metadata, scale, ColorMode.IMAGE)
        drawn = visualizer.draw_instance_predictions(instances).get_image()
        target = os.path.join(args.output, picture)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not cv2.imwrite(target, drawn[:, :, ::-1]):
            raise OSError(f"Could not write '{target}'.")
    print(f"{len(images)} pictures in {args.output}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"predict.py: {error}")
