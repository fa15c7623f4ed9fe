"""Trainings in this process, on a small version of the built-in data set."""

import json
from pathlib import Path

import pytest

from helpers import TINY
from scnet import get_config_file
from scnet.config import read_cfg
from scnet.data.datasets import shapes
from scnet.engine import Trainer, configure_data

FAST = [
    *("SEED", 3, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "SOLVER.STEPS", ()),
    *("SOLVER.MAX_ITER", 4, "SOLVER.WARMUP_ITERS", 2, "DATASETS.TEST", ()),
    *("INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MAX_SIZE_TRAIN", 96),
]


@pytest.fixture
def make_trainer(tmp_path, environment):
    """make_trainer(KEY, value, ..., output="run", resume=False): ready to train four steps."""
    root = Path(environment["FVCORE_CACHE"], "scnet", f"shapes_v{shapes.VERSION}")
    data = {
        "DATASETS.TRAIN_JSON": root / "annotations/instances_train.json",
        "DATASETS.TRAIN_IMAGES": root / "train",
        "DATASETS.TRAIN_SEM_SEG": root / "stuffthingmaps/train",
    }
    data = [x for key, path in data.items() for x in (key, (str(path),))]

    def make(*opts, output="run", resume=False):
        opts = [*TINY, *FAST, *data, "OUTPUT_DIR", str(tmp_path / output), *opts]
        cfg = read_cfg(get_config_file("quickstart.yaml"), opts)
        configure_data(cfg, [])
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume)
        trainer.losses = record_losses(trainer)
        return trainer

    return make


def record_losses(trainer):
    """The losses of each step, as they are trained: iteration -> name -> value."""
    losses = {}
    write = trainer._trainer._write_metrics

    def note(values, data_time, *args, **kwargs):
        losses[trainer.iter] = {name: value.item() for name, value in values.items()}
        write(values, data_time, *args, **kwargs)

    trainer._trainer._write_metrics = note
    return losses


@pytest.fixture
def lines_of():
    """What a file of json lines holds."""
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]
