#!/usr/bin/env python
"""Train or evaluate SCNet, with the conventions of Detectron2's ``train_net.py``.

%(prog)s --num-gpus 8 --config scnet_R_50_FPN_20e_coco
torchrun --standalone --nproc-per-node 8 train_net.py --config ...
%(prog)s --config ... --train-json A --train-images D --val-json B --val-images E
%(prog)s --config ... --train-json A --train-images D --val-fraction 0.2 --epochs 30
%(prog)s --config ... --train-json A --train-images D --folds 5 --epochs 30
%(prog)s --eval-only --config ... MODEL.WEIGHTS path/to/model.pth
"""

import signal
import sys
from argparse import REMAINDER, ArgumentParser, Namespace

from scnet_tools.arguments import (
    add_config,
    add_data_arguments,
    add_process_arguments,
    add_schedule_arguments,
    ends_on_ctrl_c,
    make_parser,
    mistakes_in_one_line,
)


def argument_parser() -> ArgumentParser:
    """Detectron2's ``default_argument_parser``, whose import takes seconds, and own data."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add_config(parser, default="")
    add("--resume", action="store_true", help="go on with the run in OUTPUT_DIR, if there is one")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS; no training")
    add_process_arguments(parser)
    add_data_arguments(parser)
    add(
        "--folds",
        type=int,
        metavar="K",
        help="train K models, each evaluated on another part of one --train-json",
    )
    add_schedule_arguments(parser)
    add("opts", nargs=REMAINDER, default=None, help="KEY VALUE pairs for the config, last")
    return parser


def train(args: Namespace):
    """Train or evaluate, in each process of the training."""
    from scnet.engine import Trainer, load_for_evaluation, say_where_things_are, setup

    with mistakes_in_one_line():
        cfg = setup(args)
        if args.eval_only:
            model = load_for_evaluation(cfg, resume=args.resume)
        else:
            trainer = Trainer(cfg)
            trainer.resume_or_load(resume=args.resume)
    if args.eval_only:
        with mistakes_in_one_line():
            results = Trainer.test(cfg, model)
            if cfg.TEST.AUG.ENABLED:
                results.update(Trainer.test_with_TTA(cfg, model))
        return results
    with mistakes_in_one_line(FloatingPointError):  # the log has the traceback
        results = trainer.train()
    if trainer.stopped_by == signal.SIGINT:
        sys.exit(128 + signal.SIGINT)  # as if it had not been handled
    if not trainer.stopped_by:
        say_where_things_are(cfg)
    return results


@ends_on_ctrl_c
def main() -> None:
    args = argument_parser().parse_args()
    if args.folds is not None:
        from scnet_tools.folds import cross_validate

        with mistakes_in_one_line():
            return cross_validate(args)
    from scnet.engine import launch

    launch(train, args)


if __name__ == "__main__":
    main()
