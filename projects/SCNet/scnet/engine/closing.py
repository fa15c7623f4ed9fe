"""What the log says when a training has ended: how good it is, what lies where, what comes next."""

import logging
import os
import shlex
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from .output_dir import CONFIG
from .report.write import NAME as REPORT

logger = logging.getLogger(__name__)

TABLE = "inference/results.md"
# What a training leaves in OUTPUT_DIR for its user, as far as it is there.
FILES = (
    ("model_best.pth", "the weights that were the best of all evaluations"),
    ("model_final.pth", "the weights of the end"),
    (REPORT, "how good the model is: curves, confusions, images; open it in a browser"),
    (CONFIG, "the config that goes with them"),
    (TABLE, "the table above; results.json beside it has all measures"),
    ("split", "the json files to train on and to evaluate on"),
    ("metrics.json", "losses and measures by iteration, as tensorboard shows them"),
)


def say_where_things_are(cfg: CfgNode) -> None:
    """Log :func:`closing_words`, in the first process."""
    if comm.is_main_process():
        logger.info(closing_words(cfg))


def closing_words(cfg: CfgNode) -> str:
    """The end of the log of a training.

    Args:
        cfg: of the training that has written its files.
    """
    folder = cfg.OUTPUT_DIR
    paths = {name: os.path.join(folder, name) for name, _ in FILES}
    there = [(paths[name], what) for name, what in FILES if os.path.exists(paths[name])]
    lines = ["The training has ended."]
    if cfg.DATASETS.TEST and os.path.exists(paths[TABLE]):
        lines += ["", Path(paths[TABLE]).read_text(encoding="utf-8")]
    width = max(len(path) for path, _ in there)
    lines += [f"{path:{width}}  {what}" for path, what in there]
    return "\n".join([*lines, "", "To see what it finds:", predict_command(cfg, there[0][0])])


def predict_command(cfg: CfgNode, weights: str) -> str:
    """The command that predicts with a model on images that it was evaluated on, or trained on.

    Args:
        cfg: of the model.
        weights: its file.
    """
    data = cfg.DATASETS
    images = [*(data.TEST_IMAGES if data.TEST else ()), *data.TEST, *data.TRAIN_IMAGES, *data.TRAIN]
    output = os.path.join(cfg.OUTPUT_DIR, "predictions")
    words = ["scnet", "predict", "--weights", weights, "--input", images[0]]
    return shlex.join([*words, "--limit", "20", "--output", output])
