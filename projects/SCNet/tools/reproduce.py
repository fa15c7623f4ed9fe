#!/usr/bin/env python
"""Train and evaluate the rows of a table of the paper, and print the table.

    %(prog)s 2 --num-gpus 8
    %(prog)s 2 --dataset shapes --schedule 400 --seeds 1 2
    %(prog)s 2 --dry-run

Interrupted, it goes on where it was when it is started again; rows that are done are not trained
again. To train rows on several machines, give each some of the --rows and the same --output.
"""

from argparse import Namespace

from scnet_tools.arguments import add_opts, ends_on_ctrl_c, make_parser, mistakes_in_one_line
from scnet_tools.paper_tables import TABLES


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("table", choices=TABLES, help="the number of the table")
    parser.add_argument(
        "--dataset",
        default="coco",
        help="coco, shapes (generated images, a small model), or a config of your own data, to "
        "which the differences between the rows are applied (default: %(default)s)",
    )
    parser.add_argument(
        "--schedule",
        help="1x or 20e (COCO), or a number of iterations (default: as the config of the data "
        "set says; 20e for COCO)",
    )
    parser.add_argument("--rows", type=int, nargs="+", metavar="N", help="from 1 (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], metavar="SEED")
    parser.add_argument(
        "--weights", nargs="+", metavar="FILE", help="evaluate these, one per row; no training"
    )
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="leave it at 1 without GPUs (default: %(default)s)"
    )
    parser.add_argument("--output", default="output/reproduce", metavar="FOLDER")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    add_opts(parser, "KEY VALUE pairs for all rows, last")
    return parser.parse_args()


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet_tools.paper_runs import reproduce

    with mistakes_in_one_line():
        reproduce(args)


if __name__ == "__main__":
    main()
