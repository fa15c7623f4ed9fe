#!/usr/bin/env python
"""Evaluate detections from a file, of any program, and show them on a page.

    python projects/SCNet/tools/report.py --annotations FILE --images FOLDER \
        --results FILE --output report.html

The results are a json list in COCO's result format, with the ids of the annotations. The page has
COCO's metrics by class and by size, curves with the best threshold of each class, what is taken for
what, and the worst and the best images. It is one file that needs no network.
"""

from argparse import Namespace

from scnet_tools.arguments import (
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
    print_line,
)


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--annotations", required=True, metavar="FILE", help="a COCO json")
    add("--images", required=True, metavar="FOLDER", help="of the annotations")
    add("--results", required=True, metavar="FILE", help="detections in COCO's result format")
    add("--output", required=True, metavar="FILE", help="the html file")
    add("--overwrite", action="store_true", help="replace it if it exists")
    return parser.parse_args()


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from detectron2.utils.logger import setup_logger

    from scnet.engine.report.write import report_results

    setup_logger(name="scnet")
    setup_logger()
    with mistakes_in_one_line():
        report_results(
            args.annotations, args.images, args.results, args.output, overwrite=args.overwrite
        )
    print_line(f"The report is {args.output}.")


if __name__ == "__main__":
    main()
