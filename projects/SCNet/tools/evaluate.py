#!/usr/bin/env python
"""Evaluate a trained model: boxes and masks, in COCO's average precision.

    %(prog)s --weights output/mine/model_final.pth --output FOLDER
    %(prog)s --weights ... --val-json B --val-images E --output FOLDER
    %(prog)s --config scnet_R_50_FPN_20e_coco --weights scnet://R_50_FPN_20e --output FOLDER

The data is that of the config, by default of the config.yaml beside the weights, unless other data
is given. FOLDER/inference gets a table, the numbers and the detections, as json, and the log.
"""

import os
from argparse import REMAINDER, Namespace

from scnet_tools.arguments import (
    add_config,
    add_data_arguments,
    add_process_arguments,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
)
from scnet_tools.train_net import train


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_config(parser, "; default: config.yaml beside the weights")
    add("--weights", required=True, metavar="FILE", help="of the model")
    add("--output", required=True, metavar="FOLDER", help="where the results go")
    add("--overwrite", action="store_true", help="replace results that exist")
    add_process_arguments(parser)
    add_data_arguments(parser, ["val"])
    add("opts", nargs=REMAINDER, help="KEY VALUE pairs for the config, last")
    return parser.parse_args()


def as_training(args: Namespace) -> Namespace:
    """The arguments of train_net.py that evaluate so.

    Raises:
        ValueError: there is no config.
        FileExistsError: there are results already.
    """
    from scnet.config import config_file_beside

    config_file = args.config_file or config_file_beside(args.weights)
    if not config_file:
        raise ValueError(
            f"The weights '{args.weights}' need a config, and there is no config.yaml beside them. "
            "Give --config."
        )
    results = os.path.join(args.output, "inference", "results.json")
    if os.path.exists(results) and not args.overwrite:
        raise FileExistsError(
            f"'{results}' exists already. Choose another --output, or add --overwrite."
        )
    for key in ("MODEL.WEIGHTS", "OUTPUT_DIR"):
        if key in args.opts[::2]:
            raise ValueError(f"{key} has an argument of its own: --weights and --output.")
    opts = [*args.opts, "MODEL.WEIGHTS", args.weights, "OUTPUT_DIR", args.output]
    more = {"config_file": config_file, "opts": opts, "eval_only": True, "resume": False}
    unused = dict.fromkeys(("epochs", "batch", "lr"))
    return Namespace(**{**vars(args), **more, **unused})


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet.engine import launch

    with mistakes_in_one_line():
        args = as_training(args)
    launch(train, args)


if __name__ == "__main__":
    main()
