#!/usr/bin/env python
"""Read a data set as training would, and report what is wrong with it.

    %(prog)s --config C \
        --train-json A --train-images D --val-json B --val-images E --output FOLDER

Takes the arguments of a training. FOLDER gets report.md, and a contact sheet per data set: its
images with their annotations, those with problems first. The exit status is 1 if training would
fail or learn something wrong.
"""

import os
import sys
from argparse import REMAINDER, Namespace
from tempfile import TemporaryDirectory

from scnet_tools.arguments import (
    add_config,
    add_data_arguments,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
)


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_config(parser, " (%(default)s)", default="scnet_R_50_FPN_1x_coco")
    add_data_arguments(parser)
    add("--output", metavar="FOLDER", help="where the report and the pictures go")
    add("--overwrite", action="store_true", help="replace a report that exists")
    add("--pictures", type=int, default=24, help="per data set (%(default)s)")
    add("opts", nargs=REMAINDER, help="KEY VALUE pairs, last")
    return parser.parse_args()


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet.data.own_data import data_opts, read_cfg_of
    from scnet.data.validation.check_dataset import check_datasets
    from scnet.data.validation_split import split_training_set

    with mistakes_in_one_line(), TemporaryDirectory() as elsewhere:
        cfg = read_cfg_of(args)
        if args.val_fraction is not None:
            folder = os.path.join(args.output or elsewhere, "split")
            keep = [*data_opts(args), *args.opts][::2]
            print(split_training_set(cfg, args.val_fraction, folder, keep))
        fit = check_datasets(
            cfg,
            args.opts[::2],
            folder=args.output,
            pictures=args.pictures,
            overwrite=args.overwrite,
        )
    sys.exit(0 if fit else 1)


if __name__ == "__main__":
    main()
