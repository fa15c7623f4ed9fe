"""From command line arguments to a checked config and an output directory that may be used."""

import logging
import os
from argparse import Namespace
from pathlib import Path
from typing import List, Sequence, Tuple

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from ..config import find_config, read_cfg
from ..config_mistakes import check_device
from ..data.broken_images import skips_broken_images
from ..data.config_from_data import configure_for_datasets, configure_semantic
from ..data.datasets.catalog import check_registered
from ..data.once_per_machine import once_per_machine
from ..data.own_data import given_opts, read_cfg_of, register_datasets
from ..data.pixel_sample import set_pixel_statistics
from ..data.sizes_from_data import configure_sizes, set_sizes, sizes_of
from ..data.validation_split import split_training_set
from ..overwrite import refuse_links
from .distributed import on_main_process, share_threads
from .full_disk import LOGGERS, let_writing_pause
from .output_dir import (
    CONFIG,
    WRITTEN_BY_NAME,
    make_folder,
    prepare_output_dir,
    refuse_to_overwrite,
    save_config,
    traces_of_a_run,
)
from .schedule_arguments import set_schedule
from .start_checks import check_cfg, check_device_of_processes, check_evaluator_types

logger = logging.getLogger(__name__)


def setup(args: Namespace) -> CfgNode:
    """Read the config, register and check the data sets that it names, set up logging.

    Args:
        args: of Detectron2's ``default_argument_parser``, and those that :func:`given_opts` takes.

    Returns:
        the frozen config.

    Raises:
        FileExistsError: a file that is written in OUTPUT_DIR is a link; OUTPUT_DIR holds a run, and
            neither ``--resume`` nor ``--eval-only`` was given; ``--resume`` would go on with
            another model or optimizer than the run's; or a ``config.yaml`` of the user is there.
        ValueError: see :func:`read_cfg_of`, :func:`check_device`,
            :func:`check_device_of_processes`, :func:`split_data`, :func:`keep_sizes`,
            :func:`configure_data`, :func:`set_schedule`, :func:`check_cfg`,
            :func:`check_evaluator_types` and :func:`skips_broken_images`.
        FileNotFoundError: a data set's json or images are missing.
        OSError: OUTPUT_DIR cannot be written to.
    """
    cfg = read_cfg_of(args)
    check_device(cfg)
    check_device_of_processes(cfg)
    decisions = keep_sizes(cfg, args.opts[::2]) if args.resume else []
    if args.val_fraction is not None:
        decisions.append(split_data(cfg, args))
    decisions += configure_data(cfg, args.opts[::2], args.eval_only)
    changes: List[str] = []
    check_evaluator_types(cfg)
    skips_broken_images(cfg)  # raises if the key is neither
    if not args.eval_only:
        check_cfg(cfg)
    decisions += set_schedule(cfg, args, args.opts[::2])
    cfg.freeze()
    if cfg.MODEL.DEVICE == "cpu":
        share_threads()
    log_cfg = cfg.clone()
    if args.eval_only:
        # Evaluation keeps its log and config beside its results: those of the training stay.
        log_cfg.defrost()
        log_cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, "inference")
    refuse_links(log_cfg.OUTPUT_DIR, WRITTEN_BY_NAME)
    if args.eval_only:
        on_main_process(make_folder, log_cfg.OUTPUT_DIR)
    else:
        changes = prepare_output_dir(cfg, args.resume)
    start_log(log_cfg, args)
    logger.info("\n".join(["Data:", *decisions]))
    if changes:
        logger.info("\n".join(["The run goes on with another config:", *changes]))
    return cfg


def keep_sizes(cfg: CfgNode, keep: Sequence[str]) -> List[str]:
    """Let a run that goes on have the sizes that it has begun with, also with other data.

    Args:
        cfg: is changed if its sizes are to follow from the data, and OUTPUT_DIR holds a run.
        keep: keys that the user has set, so that they stay as they are.

    Returns:
        a line about each size, for the log.

    Raises:
        ValueError: the config.yaml of the run cannot be read.
    """
    config = Path(cfg.OUTPUT_DIR, CONFIG)
    if not cfg.INPUT.SIZES_FROM_DATA or not traces_of_a_run(cfg.OUTPUT_DIR) or not config.exists():
        return []
    return set_sizes(cfg, sizes_of(read_cfg(config)), keep, "as the run has begun")


def start_log(cfg: CfgNode, args: Namespace) -> None:
    """Set up the log, and note what a run begins with, as Detectron2's ``default_setup`` does.

    That one also writes config.yaml, but not at once: a process that is killed leaves half of it.

    Args:
        cfg: of the run; its OUTPUT_DIR gets the log and the config.
        args: see :func:`setup`.

    Raises:
        OSError: they cannot be written.
    """
    rank = comm.get_rank()
    for name in LOGGERS:
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name=name)
    let_writing_pause()
    logger.info(f"Rank of current process: {rank}. World size: {comm.get_world_size()}")
    logger.info(f"Environment info:\n{collect_env_info()}")
    logger.info(f"Command line arguments: {args}")
    if comm.is_main_process():
        if args.config_file:
            config_file = find_config(args.config_file)
            text = Path(config_file).read_text(encoding="utf-8")
            logger.info(f"Contents of {config_file}:\n{text}")
        logger.info(f"Running with full config:\n{cfg.dump()}")
        save_config(cfg)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if not args.eval_only:
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK


def split_data(cfg: CfgNode, args: Namespace) -> str:
    """Keep a share of the training images for evaluation; the two json files go to OUTPUT_DIR.

    Args:
        cfg: is changed.
        args: see :func:`setup`; ``val_fraction`` is the share.

    Returns:
        a sentence about it.

    Raises:
        FileExistsError: OUTPUT_DIR holds a run, and this one is another.
        ValueError, FileNotFoundError, FileExistsError: see :func:`split_training_set`.
    """
    if not (args.resume or args.eval_only):
        on_main_process(refuse_to_overwrite, cfg.OUTPUT_DIR)
    folder = os.path.join(cfg.OUTPUT_DIR, "split")
    # One process writes. The others find the files, but on machines with disks of their own.
    options = args.val_fraction, folder, given_opts(args)[::2]
    sentence = on_main_process(split_training_set, cfg.clone(), *options)

    def follow() -> CfgNode:
        split_training_set(cfg, *options)
        return cfg

    cfg.merge_from_other_cfg(once_per_machine(follow))
    return sentence


def configure_data(cfg: CfgNode, keep: Sequence[str], eval_only: bool = False) -> List[str]:
    """Register one's own data, and let the config follow from it.

    Args:
        cfg: is changed.
        keep: keys that the user has set, so that they stay as they are.
        eval_only: look at the test sets alone.

    Returns:
        what was decided, for the log.

    Raises:
        ValueError: there is nothing to train on; or see :func:`register_datasets`,
            :func:`configure_for_datasets` and :func:`configure_sizes`.
    """
    own = register_datasets(cfg, ("TEST",) if eval_only else ("TRAIN", "TEST"))
    if not eval_only and not cfg.DATASETS.TRAIN:
        raise ValueError(
            "There is no data to train on. Give --train-json and --train-images, or DATASETS.TRAIN."
        )
    for name in (() if eval_only else cfg.DATASETS.TRAIN) + cfg.DATASETS.TEST:
        check_registered(name)

    def follow() -> Tuple[CfgNode, List[str]]:
        if own:
            return cfg, configure_for_datasets(cfg, keep, eval_only)
        if eval_only:
            return cfg, []
        return cfg, [
            *configure_sizes(cfg, keep),
            *configure_semantic(cfg, keep),
            *set_pixel_statistics(cfg, keep),
        ]

    changed, decisions = once_per_machine(follow)
    cfg.merge_from_other_cfg(changed)
    return decisions
