"""The model that the arguments of several tools name: its weights, and the config beside them."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Optional, Tuple

from scnet_tools.arguments import add_config

if TYPE_CHECKING:
    from detectron2.config import CfgNode

TRUST = "MODEL.TRUST_WEIGHTS"


def add_model_arguments(parser: ArgumentParser) -> None:
    """Add --config and --weights, of which one is enough."""
    add_config(parser, "; default: config.yaml beside the weights")
    parser.add_argument(
        "--weights", metavar="FILE", help="of the model; default: the config's MODEL.WEIGHTS"
    )


def find_config_file(args: Namespace) -> str:
    """The file of --config, or the config.yaml beside --weights.

    Raises:
        ValueError: there is neither; or see :func:`scnet.checkpoint.config_file_beside`.
        OSError: see there.
    """
    from scnet.checkpoint import config_file_beside

    if args.config_file:
        return args.config_file
    if not args.weights:
        raise ValueError("No model is named. Give its --weights, or a --config that names them.")
    return config_file_beside(args.weights)


def read_model_config(args: Namespace) -> "CfgNode":
    """The config of the model with --opts and, as MODEL.WEIGHTS, its weights.

    Raises:
        ValueError: weights are named twice, or nowhere; or see :func:`find_config_file` and
            :func:`scnet.config.read_cfg`.
        OSError: see there.
    """
    from scnet.config import read_cfg

    cfg = read_cfg(find_config_file(args), args.opts)
    if args.weights and "MODEL.WEIGHTS" in args.opts[::2] and cfg.MODEL.WEIGHTS:  # "" is no name
        raise ValueError("Weights are named twice, in --weights and MODEL.WEIGHTS. Leave one out.")
    cfg.MODEL.WEIGHTS = args.weights or cfg.MODEL.WEIGHTS
    if not cfg.MODEL.WEIGHTS:
        raise ValueError(f"No weights. '{args.config_file}' names none: give --weights.")
    return cfg


def find_model(args: Namespace) -> Tuple[str, Optional["CfgNode"], bool]:
    """The weights, their config, and whether they are trusted, as the arguments say.

    An exported model has no config.

    Raises:
        ValueError: keys are given that an exported model has fixed; or see
            :func:`read_model_config`.
        OSError: see there.
    """
    from scnet.config import read_cfg
    from scnet.exported_formats import is_exported

    if args.weights and is_exported(args.weights) and not args.config_file:
        fixed = [key for key in args.opts[::2] if key != TRUST]
        if fixed:
            raise ValueError(
                f"'{args.weights}' was exported with its config, which cannot be changed: "
                f"{', '.join(fixed)}. Export the model again with these values."
            )
        return args.weights, None, read_cfg("", args.opts).MODEL.TRUST_WEIGHTS
    cfg = read_model_config(args)
    return cfg.MODEL.WEIGHTS, cfg, cfg.MODEL.TRUST_WEIGHTS
