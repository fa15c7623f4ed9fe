"""From command line arguments to a checked config and an output directory that may be used."""

import logging
import os
from argparse import Namespace
from typing import List, Sequence

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..config import read_cfg
from ..config_mistakes import check_device
from ..data.config_from_data import configure_for_datasets, configure_semantic
from ..data.datasets.catalog import check_registered
from ..data.own_data import data_opts, register_datasets
from ..overwrite import refuse_links
from .distributed import share_threads
from .output_dir import CONFIG, former_config_kept, prepare_output_dir
from .start_checks import check_cfg, check_device_of_processes, check_evaluator_types

logger = logging.getLogger(__name__)

# What Detectron2 and provenance.py open in OUTPUT_DIR, and so would write where a link leads.
WRITTEN_BY_NAME = (CONFIG, "log.txt", "metrics.json", "runs.jsonl")


def setup(args: Namespace) -> CfgNode:
    """Read the config, register and check the data sets that it names, set up logging.

    Args:
        args: of Detectron2's ``default_argument_parser``, and those that :func:`data_opts` takes.

    Returns:
        the frozen config.

    Raises:
        FileExistsError: a file that is written in OUTPUT_DIR is a link; OUTPUT_DIR holds a run, and
            neither ``--resume`` nor ``--eval-only`` was given; or ``--resume`` would go on with
            another model or optimizer than the run's.
        ValueError: see :func:`read_cfg`, :func:`check_device`, :func:`check_device_of_processes`,
            :func:`configure_data`, :func:`check_cfg` and :func:`check_evaluator_types`.
        FileNotFoundError: a data set's json or images are missing.
        OSError: OUTPUT_DIR cannot be written to.
    """
    cfg = read_cfg(args.config_file, [*data_opts(args), *args.opts])
    check_device(cfg)
    check_device_of_processes(cfg)
    decisions = configure_data(cfg, args.opts[::2], args.eval_only)
    changes: List[str] = []
    check_evaluator_types(cfg)
    if not args.eval_only:
        check_cfg(cfg)
    cfg.freeze()
    if cfg.MODEL.DEVICE == "cpu":
        share_threads()
    if args.eval_only:
        # Evaluation keeps its log and config beside its results: those of the training stay.
        log_cfg = cfg.clone()
        log_cfg.defrost()
        log_cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "inference")
        refuse_links(log_cfg.OUTPUT_DIR, WRITTEN_BY_NAME)
        default_setup(log_cfg, args)
    else:
        log_cfg = cfg
        refuse_links(cfg.OUTPUT_DIR, WRITTEN_BY_NAME)
        changes = prepare_output_dir(cfg, args.resume)
        with former_config_kept(cfg.OUTPUT_DIR):
            default_setup(cfg, args)
    setup_logger(log_cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="scnet")
    logger.info("\n".join(["Data:", *decisions]))
    if changes:
        logger.info("\n".join(["The run goes on with another config:", *changes]))
    return cfg


def configure_data(cfg: CfgNode, keep: Sequence[str], eval_only: bool = False) -> List[str]:
    """Register one's own data, and let the config follow from it.

    Args:
        cfg: is changed.
        keep: keys that the user has set, so that they stay as they are.
        eval_only: look at the test sets alone.

    Returns:
        what was decided, for the log.

    Raises:
        ValueError: there is nothing to train on; or see :func:`register_datasets` and
            :func:`configure_for_datasets`.
    """
    own = register_datasets(cfg, ("TEST",) if eval_only else ("TRAIN", "TEST"))
    if not eval_only and not cfg.DATASETS.TRAIN:
        raise ValueError(
            "There is no data to train on. Give --train-json and --train-images, or DATASETS.TRAIN."
        )
    for name in (() if eval_only else cfg.DATASETS.TRAIN) + cfg.DATASETS.TEST:
        check_registered(name)
    if own:
        return configure_for_datasets(cfg, keep, eval_only)
    return [] if eval_only else configure_semantic(cfg, keep)
