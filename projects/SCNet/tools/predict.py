#!/usr/bin/env python
r"""Find objects in images, videos and what a camera sees: pictures, json, masks.

    python projects/SCNet/tools/predict.py --config-file C --input IMAGE_OR_FOLDER ... \
        --output FOLDER --opts MODEL.WEIGHTS path/to/model.pth
    python projects/SCNet/tools/predict.py --weights output/mine/model_final.pth \
        --input clip.mp4 'photos/*.jpg' --output FOLDER --json results.json --masks FOLDER

With --weights the config is by default the config.yaml beside them.
"""

import argparse
import sys
from contextlib import ExitStack
from itertools import islice, tee
from typing import List, Optional, Sequence

from detectron2.data import MetadataCatalog
from tqdm import tqdm

from scnet import Predictor, visualization
from scnet.config import read_cfg
from scnet.inference.inputs import Input, InputImage, find_inputs, frames_of
from scnet.inference.outputs import CocoResults, LabelMaps, Pictures, Writer
from scnet.inference.pytorch_backend import config_beside

INPUTS = f"{visualization.INPUTS}; videos; the number of a camera, which Ctrl-C ends"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", metavar="FILE")
    parser.add_argument("--weights", metavar="FILE", help="in place of the config's MODEL.WEIGHTS")
    visualization.add_arguments(parser, INPUTS, output_required=False)
    parser.add_argument("--json", metavar="FILE", help="where results in COCO format go")
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        help="COCO json whose ids of images and categories --json has; by default that of the "
        "data set, if the input is one",
    )
    parser.add_argument("--masks", metavar="FOLDER", help="where a PNG of labels per image goes")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="the only ones to look for")
    parser.add_argument(
        "--batch-size", type=int, default=1, help="images predicted at a time (%(default)s)"
    )
    return parser.parse_args()


def make_predictor(args: argparse.Namespace) -> Predictor:
    """
    Raises:
        ValueError: there are no weights; or see :class:`Predictor`.
    """
    cfg = None  # the predictor finds that of the weights
    if args.config_file:
        cfg = read_cfg(args.config_file, args.opts)
    elif args.opts:
        cfg = config_beside(args.weights) if args.weights else None
        if cfg is None:
            raise ValueError("--opts changes a config. Give --config-file.")
        cfg.merge_from_list(args.opts)
    weights = args.weights or (cfg.MODEL.WEIGHTS if cfg else "")
    if not weights:
        raise ValueError("No weights. Add --opts MODEL.WEIGHTS path/to/model.pth to the command.")
    return Predictor(
        weights,
        cfg,
        threshold=args.threshold,
        classes=args.classes,
        batch_size=args.batch_size,
    )


def annotations_of(inputs: Sequence[Input]) -> Optional[str]:
    """The json of the data set that the inputs are; None if they are none, or several."""
    sets = {x.dataset if isinstance(x, InputImage) else None for x in inputs}
    name = sets.pop() if len(sets) == 1 else None
    return MetadataCatalog.get(name).get("json_file") if name else None


def make_writers(
    args: argparse.Namespace, inputs: Sequence[Input], names: List[str]
) -> List[Writer]:
    """What the arguments ask for.

    Raises:
        ValueError: nothing; or see :class:`CocoResults`.
    """
    writers: List[Writer] = []
    if args.output:
        writers.append(Pictures(args.output, names))
    if args.masks:
        writers.append(LabelMaps(args.masks))
    if args.json:
        writers.append(CocoResults(args.json, names, args.annotations or annotations_of(inputs)))
    if not writers:
        raise ValueError("Nothing to write. Give --output, --json or --masks.")
    return writers


def main() -> None:
    args = parse_args()
    if args.limit is not None and args.limit < 1:
        raise ValueError("--limit must be 1 or more.")
    predictor = make_predictor(args)
    inputs = find_inputs(args.input)[: args.limit]
    writers = make_writers(args, inputs, predictor.names)
    if not args.overwrite:
        visualization.refuse_to_replace([path for w in writers for path in w.paths(inputs)])

    counts = [x.count() for x in inputs]
    total = None if None in counts else min(sum(counts), args.limit or sum(counts))
    frames, ahead = tee(islice(frames_of(inputs), args.limit))
    found = zip(frames, predictor.stream(ahead))
    done = 0
    with ExitStack() as stack:
        for writer in writers:
            stack.enter_context(writer)
        try:
            for frame, instances in tqdm(found, "Predicting", total, unit="image"):
                for writer in writers:
                    writer.write(frame, instances)
                done += 1
        except KeyboardInterrupt:
            print("Stopped.")
    for path in filter(None, (args.output, args.masks, args.json)):
        print(f"{done} images in {path}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"predict.py: {error}")
