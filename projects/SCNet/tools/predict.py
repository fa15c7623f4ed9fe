#!/usr/bin/env python
r"""Find objects in images, videos, streams and what a camera sees: pictures, json, masks.

    %(prog)s --weights output/mine/model_final.pth \
        --input clip.mp4 'photos/*.jpg' --output FOLDER --json results.json --masks FOLDER

With --weights the config is by default the config.yaml beside them. They can be a model that is
shared on Hugging Face: --weights hf://OWNER/NAME.

An image or video that cannot be read is named at the end, and the exit status is 1. Ctrl-C or
SIGTERM ends the command: what was predicted until then is written, and the exit status is 130 or
143 (0 where Ctrl-C ends a camera or a live stream).
"""

import sys
from argparse import Namespace
from typing import Dict, Sequence

from scnet_tools.arguments import (
    INPUTS,
    add_drawing_arguments,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
    print_line,
    program,
)
from scnet_tools.model_arguments import add_model_arguments, find_model


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_model_arguments(parser)
    inputs = f"{INPUTS}; videos; the number of a camera or the URL of a stream, which Ctrl-C ends"
    drawn = "drawn, and in label maps, --coco and --geojson"
    add_drawing_arguments(parser, inputs, output_required=False, drawn=drawn)
    add("--json", metavar="FILE", help="where results in COCO format go")
    add(
        "--json-threshold",
        type=float,
        help="lowest score in --json; by default all that the model gives, as AP needs them",
    )
    add(
        "--annotations",
        metavar="FILE",
        help="COCO json whose ids of images and categories --json and --coco have; by default that "
        "of the data set, if the input is one",
    )
    add("--coco", metavar="FILE", help="where a data set in COCO format goes, to be corrected")
    add(
        "--polygons",
        type=float,
        metavar="TOLERANCE",
        help="masks in --coco are polygons, this many pixels exact; by default they are RLE",
    )
    add(
        "--geojson",
        metavar="FILE",
        help="where outlines go in the coordinates of images that have a world file",
    )
    add("--masks", metavar="FOLDER", help="where a PNG of labels per image goes")
    add(
        "--class-threshold",
        nargs="+",
        metavar="NAME=SCORE",
        default=[],
        help="--threshold of some classes, such as cat=0.3",
    )
    add("--classes", nargs="+", metavar="NAME", help="the only ones to look for")
    add("--batch-size", type=int, default=1, help="images predicted at a time (%(default)s)")
    add("--tile", type=int, metavar="PIXELS", help="predict in tiles with sides of so many pixels")
    add("--overlap", type=float, metavar="PART", help="of two tiles, as a part of --tile (0.2)")
    add("--track", action="store_true", help="number the objects of videos and streams")
    add("--strict", action="store_true", help="stop at the first image that cannot be read")
    parser.set_defaults(threshold=None)  # so that it is seen whether it was given
    return parser.parse_args()


def refuse_unused(args: Namespace) -> None:
    """Find arguments that would have no effect.

    Raises:
        ValueError: there is one.
    """
    if not (args.output or args.masks or args.coco or args.geojson or args.track):
        kinds = "--output, --masks, --coco, --geojson and --track"
        if args.threshold is not None:
            raise ValueError(f"--threshold is for {kinds}; --json has --json-threshold.")
        if args.class_threshold:
            raise ValueError(f"--class-threshold is for {kinds}.")
    if args.annotations is not None and not (args.json or args.coco):
        raise ValueError("--annotations is for --json and --coco, which are not given.")
    for name, needed in (("json_threshold", "json"), ("polygons", "coco")):
        if getattr(args, name) is not None and not getattr(args, needed):
            raise ValueError(f"--{name.replace('_', '-')} is for --{needed}, which is not given.")
    if args.overlap is not None and args.tile is None:
        raise ValueError("--overlap is for --tile, which is not given.")


def read_class_thresholds(texts: Sequence[str]) -> Dict[str, float]:
    """Read NAME=SCORE.

    Raises:
        ValueError: one is not of this form.
    """
    thresholds = {}
    for text in texts:
        name, _, score = text.rpartition("=")
        try:
            thresholds[name] = float(score)
        except ValueError:
            name = ""
        if not name:
            raise ValueError(f"--class-threshold takes NAME=SCORE, such as cat=0.3, not '{text}'.")
    return thresholds


def make_predictor(args: Namespace, lowest: float):
    """The predictor that the arguments name.

    Args:
        lowest: score that is needed.

    Raises:
        OSError, ValueError, ImportError: see :func:`find_model` and :class:`scnet.Predictor`.
    """
    from scnet import Predictor
    from scnet.inference.tiles import Tiles

    weights, cfg, trusted = find_model(args)
    tiles = None
    if args.tile is not None:
        tiles = Tiles(args.tile, *([] if args.overlap is None else [args.overlap]))
    return Predictor(
        weights,
        cfg,
        threshold=lowest,
        classes=args.classes,
        batch_size=args.batch_size,
        masks="rle",
        tiles=tiles,
        trusted=trusted,
    )


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet.inference.predict_files import predict_files
    from scnet.inference.tracking import LOWEST_SCORE

    threshold = 0.5 if args.threshold is None else args.threshold
    json_threshold = args.json_threshold or 0.0
    with mistakes_in_one_line(ImportError):
        refuse_unused(args)
        class_thresholds = read_class_thresholds(args.class_threshold)
        lowest = min([threshold, *class_thresholds.values()])
        lowest = min(lowest, json_threshold) if args.json else lowest
        lowest = min(lowest, LOWEST_SCORE) if args.track else lowest
        predictor = make_predictor(args, lowest)
        if hasattr(predictor.backend, "device"):
            print_line(f"Device: {predictor.backend.device}")
        outcome = predict_files(
            predictor,
            args.input,
            pictures=args.output,
            results=args.json,
            annotations=args.annotations,
            masks=args.masks,
            coco=args.coco,
            geojson=args.geojson,
            polygons=args.polygons,
            threshold=threshold,
            class_thresholds=class_thresholds,
            json_threshold=json_threshold,
            track=args.track,
            limit=args.limit,
            overwrite=args.overwrite,
            strict=args.strict,
        )
    for path in filter(None, (args.output, args.masks, args.json, args.coco, args.geojson)):
        print_line(f"{outcome.done} images in {path}")
    problems = [f"{program()}: {message}" for message in outcome.failed]
    if outcome.stopped:
        problems.append(f"{program()}: stopped by signal {outcome.stopped} before the end.")
        print(*problems, sep="\n", file=sys.stderr)
        sys.exit(128 + outcome.stopped)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
