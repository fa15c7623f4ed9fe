#!/usr/bin/env python
"""Train or evaluate SCNet, with the conventions of Detectron2's ``train_net.py``.

python train_net.py --num-gpus 8 --config-file projects/SCNet/configs/NAME.yaml
python train_net.py --eval-only --config-file ... MODEL.WEIGHTS path/to/model.pth
"""

from functools import partial

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import default_argument_parser, hooks, launch

from scnet.engine import Trainer, setup


def main(args):
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
            cfg.MODEL.WEIGHTS, resume=args.resume
        )
        results = Trainer.test(cfg, model)
        if cfg.TEST.AUG.ENABLED:
            results.update(Trainer.test_with_TTA(cfg, model))
        return results
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    if cfg.TEST.AUG.ENABLED:
        test = partial(trainer.test_with_TTA, cfg, trainer.model)
        trainer.register_hooks([hooks.EvalHook(0, test)])
    return trainer.train()


if __name__ == "__main__":
    args = default_argument_parser().parse_args()
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )
