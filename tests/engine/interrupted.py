"""Kill a training at random moments, for test_resume.py.

python interrupted.py FOLDER KILLS: trains in FOLDER/whole without and in FOLDER/killed with
interruptions; both leave steps.jsonl, the losses of every step.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from detectron2.engine import HookBase

from helpers import TINY
from scnet import get_config_file
from scnet.engine import Trainer, setup
from scnet_tools.train_net import argument_parser

STEPS = 12
OPTIONS = [
    *TINY,
    *("SEED", "5", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "1"),
    *("SOLVER.MAX_ITER", str(STEPS), "SOLVER.STEPS", "(8,)", "SOLVER.WARMUP_ITERS", "4"),
    *("SOLVER.CHECKPOINT_PERIOD", "3", "TEST.EVAL_PERIOD", "4", "SOLVER.AMP.ENABLED", "True"),
    *("SOLVER.EMA.ENABLED", "True", "SOLVER.GRADIENT_ACCUMULATION", "2"),
]


class Note(HookBase):
    """Writes the losses of every step."""

    def __init__(self, path):
        self.file = open(path, "a")  # noqa: SIM115 - until the process ends

    def after_step(self):
        latest = self.trainer.storage.latest()
        losses = {k: v for k, (v, _) in latest.items() if "loss" in k}
        self.file.write(json.dumps([self.trainer.iter, losses]) + "\n")
        self.file.flush()


def train(output, *more):
    arguments = ["--resume", "--config-file", get_config_file("quickstart.yaml")]
    options = ["OUTPUT_DIR", str(output), *OPTIONS, *more]
    cfg = setup(argument_parser().parse_args([*arguments, *options]))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.register_hooks([Note(output / "steps.jsonl")])
    trainer.train()


def start(output, *more):
    """Train in a process of its own; forked, so that it need not import all again."""
    pid = os.fork()
    if pid:
        return pid
    log = os.open(output.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        train(output, *more)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(pid, output):
    _, status = os.waitpid(pid, 0)
    if status:
        sys.exit(f"{output.with_suffix('.log').read_text()[-4000:]}\nended with {status}")


def main(folder, kills):
    torch.set_num_threads(1)
    began = time.monotonic()
    wait(start(folder / "whole"), folder / "whole")
    duration = time.monotonic() - began
    rng = random.Random(int.from_bytes(os.urandom(4), "big"))
    output, done, finished = folder / "killed", 0, 0
    while done < kills:
        pid = start(output, "SOLVER.CHECKPOINT_IN_BACKGROUND", str(rng.random() < 0.5))
        time.sleep(rng.uniform(0, duration * 0.6))
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            if status:
                sys.exit(f"{output.with_suffix('.log').read_text()[-4000:]}\nended with {status}")
            # It was faster, and there is nothing more to kill: again from the beginning.
            output.rename(folder / f"killed{finished}")
            finished += 1
            continue
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        done += 1
    wait(start(output), output)
    print(f"{done} kills in {finished + 1} trainings of {duration:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
