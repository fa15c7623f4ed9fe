#!/usr/bin/env python
"""Figure 1 of the paper: how well do the boxes fit that reach the mask branch?

    %(prog)s --weights output/mine/model_final.pth --output FOLDER

Three distributions of the IoU with ground truth, from one model:
- training without sample consistency: the positive samples of all box stages,
- training with it: those of the last stage alone,
- inference: the final boxes.
The first two are collected over DATASETS.TRAIN with the model in training mode, the last over
DATASETS.TEST. Ground truth that is appended to the training samples fits perfectly and hides the
rest where samples are few; it is left out unless it is asked for.
"""

import os
from argparse import Namespace
from pathlib import Path

from scnet_tools.arguments import (
    add_opts,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
)
from scnet_tools.model_arguments import add_model_arguments, read_model_config


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_model_arguments(parser)
    add("--output", required=True, metavar="FOLDER")
    add("--num-images", type=int, default=1000, help="at most, of each kind (%(default)s)")
    add("--with-appended", action="store_true", help="keep ground truth among the samples")
    add("--overwrite", action="store_true", help="replace an earlier result")
    add_opts(parser)
    return parser.parse_args()


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet.config_mistakes import check_device
    from scnet.engine import configure_data
    from scnet.engine.iou_distribution import iou_distribution
    from scnet.overwrite import refuse_impossible_outputs

    with mistakes_in_one_line():
        if args.num_images < 1:
            raise ValueError(f"--num-images must be 1 or more, not {args.num_images}.")
        refuse_impossible_outputs([os.path.join(args.output, "below.json")], [])
        cfg = read_model_config(args)
        check_device(cfg)
        configure_data(cfg, args.opts[::2])
        if Path(args.output, "below.json").exists() and not args.overwrite:
            raise FileExistsError(
                f"'{args.output}' has a result already. Add --overwrite to replace it."
            )
        table = iou_distribution(
            cfg, args.output, num_images=args.num_images, with_appended=args.with_appended
        )
    print(f"{table}\nPlot, histogram and numbers: {args.output}")


if __name__ == "__main__":
    main()
