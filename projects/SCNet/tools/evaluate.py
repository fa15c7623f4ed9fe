#!/usr/bin/env python
"""Evaluate a trained model, or detections of any program, in COCO's average precision.

    %(prog)s --weights output/mine/model_final.pth --output FOLDER
    %(prog)s --results detections.json --val-json B --val-images E --output FOLDER
    %(prog)s --weights ... --val-json B --val-images E --output FOLDER
    %(prog)s --config scnet_R_50_FPN_20e_coco --weights scnet://R_50_FPN_20e --output FOLDER

The data is that of the config, by default of the config.yaml beside the weights, unless other data
is given. FOLDER gets report.html, which shows how good the model is, and the log; FOLDER/inference
a table, the numbers and the detections, as json. With --results, a json list in COCO's result
format with the ids of the annotations, it gets report.html.
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
    print_line,
)
from scnet_tools.model_arguments import find_config_file
from scnet_tools.train_net import train


def parse_args() -> Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_config(parser, "; default: config.yaml beside the weights")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--weights", metavar="FILE", help="of the model")
    what.add_argument("--results", metavar="FILE", help="detections in COCO's result format")
    add("--output", required=True, metavar="FOLDER", help="where the results go")
    add("--overwrite", action="store_true", help="replace results that exist")
    add_process_arguments(parser)
    add_data_arguments(parser, ["val"])
    add("opts", nargs=REMAINDER, help="KEY VALUE pairs for the config, last")
    return parser.parse_args()


def as_training(args: Namespace) -> Namespace:
    """The arguments of train_net.py that evaluate so.

    Raises:
        OSError, ValueError: see :func:`find_config_file`; or a key has an argument of its own.
        FileExistsError: there are results already.
    """
    config_file = find_config_file(args)
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


def report(args: Namespace) -> None:
    """Write the report of detections.

    Raises:
        ValueError: the annotations are not given once, or an argument would have no effect.
        OSError, ValueError: see :func:`scnet.engine.report.write.report_results`.
    """
    from detectron2.utils.logger import setup_logger

    from scnet.engine.report.write import NAME, report_results

    if len(args.val_json) != 1 or len(args.val_images) != 1:
        raise ValueError("--results needs --val-json and --val-images, each once.")
    if args.config_file or args.opts:
        raise ValueError("--results has no config: leave out --config and KEY VALUE pairs.")
    setup_logger(name="scnet")
    setup_logger()
    os.makedirs(args.output, exist_ok=True)
    path = os.path.join(args.output, NAME)
    report_results(*args.val_json, *args.val_images, args.results, path, overwrite=args.overwrite)
    print_line(f"The report is {path}.")


@ends_on_ctrl_c
def main() -> None:
    args = parse_args()
    from scnet.engine import launch

    with mistakes_in_one_line():
        if args.results:
            return report(args)
        args = as_training(args)
    launch(train, args)


if __name__ == "__main__":
    main()
