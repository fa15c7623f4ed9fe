#!/usr/bin/env python
"""Draw the instances that a model finds in images.

    python projects/SCNet/tools/predict.py --config-file C --input IMAGE_OR_FOLDER ... \
        --output FOLDER --opts MODEL.WEIGHTS path/to/model.pth
"""

import argparse
import os
import sys

from detectron2.engine import DefaultPredictor
from tqdm import tqdm

from scnet import visualization


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE")
    visualization.add_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = visualization.read_cfg(args.config_file, args.opts)
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("No weights. Add --opts MODEL.WEIGHTS path/to/model.pth to the command.")

    images = visualization.find_images(args.input)[: args.limit]
    if not args.overwrite:
        visualization.refuse_to_replace(args.output, [image.picture for image in images])

    predictor = DefaultPredictor(cfg)
    names = visualization.names_of_classes(predictor.model, cfg)
    for image in tqdm(images, desc="Predicting", unit="image"):
        pixels, instances = visualization.detect(predictor, image.file_name)
        instances = instances[instances.scores >= args.threshold]
        drawn = visualization.draw_detections(pixels, instances, names, color_by_class=False)
        visualization.write_rgb(os.path.join(args.output, image.picture), drawn)
    print(f"{len(images)} pictures in {args.output}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"predict.py: {error}")
