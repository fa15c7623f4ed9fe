#!/usr/bin/env python
"""Train or evaluate SCNet, with the conventions of Detectron2's ``train_net.py``.

python train_net.py --num-gpus 8 --config-file projects/SCNet/configs/NAME.yaml
torchrun --standalone --nproc-per-node 8 train_net.py --config-file ...
python train_net.py --config-file ... --train-json A --train-images D --val-json B --val-images E
python train_net.py --eval-only --config-file ... MODEL.WEIGHTS path/to/model.pth
"""

import sys
from functools import partial

from detectron2.engine import hooks

from scnet.engine import Trainer, argument_parser, launch, load_for_evaluation, setup


def main(args):
    try:
        cfg = setup(args)
        if args.eval_only:
            model = load_for_evaluation(cfg, resume=args.resume)
        else:
            trainer = Trainer(cfg)
            trainer.resume_or_load(resume=args.resume)
    except (OSError, ValueError) as error:  # a mistake in the command, the config or the data
        sys.exit(f"train_net.py: {error}")
    if args.eval_only:
        results = Trainer.test(cfg, model)
        if cfg.TEST.AUG.ENABLED:
            results.update(Trainer.test_with_TTA(cfg, model))
        return results
    if cfg.TEST.AUG.ENABLED:
        test = partial(trainer.test_with_TTA, cfg, trainer.result)
        trainer.register_hooks([hooks.EvalHook(0, test)])
    try:
        return trainer.train()
    except (OSError, FloatingPointError) as error:  # the log has the traceback
        sys.exit(f"train_net.py: {error}")


if __name__ == "__main__":
    launch(main, argument_parser().parse_args())
