#!/usr/bin/env python
"""Draw what several models find in the same images, side by side, and a page to leaf through.

    %(prog)s --model NAME CONFIG WEIGHTS \
        --model NAME CONFIG WEIGHTS ... --input IMAGE_OR_FOLDER_OR_DATASET ... --output FOLDER

FOLDER gets a picture per image; index.html, which shows them; and predictions.json, the number
of detections. Images of a data set with annotations have the ground truth as their first panel.
"""

from argparse import Namespace

from scnet_tools.arguments import (
    add_drawing_arguments,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
    print_line,
)


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--model",
        required=True,
        nargs=3,
        action="append",
        metavar=("NAME", "CONFIG", "WEIGHTS"),
        help="at least twice; WEIGHTS take the place of the config's and of --opts'",
    )
    add_drawing_arguments(parser)
    return parser.parse_args()


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet.inference.comparison import compare_models

    with mistakes_in_one_line():
        written = compare_models(
            args.model,
            args.input,
            args.output,
            opts=args.opts,
            threshold=args.threshold,
            limit=args.limit,
            overwrite=args.overwrite,
        )
    print_line(written)


if __name__ == "__main__":
    main()
