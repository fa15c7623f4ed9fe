#!/usr/bin/env python
r"""Find objects in images, videos and what a camera sees: pictures, json, masks.

    python projects/SCNet/tools/predict.py --config-file C --input IMAGE_OR_FOLDER ... \
        --output FOLDER --opts MODEL.WEIGHTS path/to/model.pth
    python projects/SCNet/tools/predict.py --weights output/mine/model_final.pth \
        --input clip.mp4 'photos/*.jpg' --output FOLDER --json results.json --masks FOLDER

With --weights the config is by default the config.yaml beside them.
"""

from argparse import Namespace

from scnet_tools.arguments import INPUTS, add_drawing_arguments, make_parser, mistakes_in_one_line


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--config-file", metavar="FILE")
    add("--weights", metavar="FILE", help="in place of the config's MODEL.WEIGHTS")
    inputs = f"{INPUTS}; videos; the number of a camera, which Ctrl-C ends"
    add_drawing_arguments(parser, inputs, output_required=False)
    add("--json", metavar="FILE", help="where results in COCO format go")
    add(
        "--annotations",
        metavar="FILE",
        help="COCO json whose ids of images and categories --json has; by default that of the "
        "data set, if the input is one",
    )
    add("--masks", metavar="FOLDER", help="where a PNG of labels per image goes")
    add("--classes", nargs="+", metavar="NAME", help="the only ones to look for")
    add("--batch-size", type=int, default=1, help="images predicted at a time (%(default)s)")
    return parser.parse_args()


def make_predictor(args: Namespace):
    """The predictor that the arguments name.

    Raises:
        ValueError: there are no weights; or see :class:`scnet.Predictor`.
    """
    from scnet import Predictor
    from scnet.config import read_cfg
    from scnet.inference.pytorch_backend import config_beside

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


def main() -> None:
    args = parse_args()
    from scnet.inference.predict_files import predict_files

    with mistakes_in_one_line():
        done = predict_files(
            make_predictor(args),
            args.input,
            pictures=args.output,
            results=args.json,
            annotations=args.annotations,
            masks=args.masks,
            limit=args.limit,
            overwrite=args.overwrite,
        )
    for path in filter(None, (args.output, args.masks, args.json)):
        print(f"{done} images in {path}")


if __name__ == "__main__":
    main()
