"""What the command lines of several tools share. Nothing here imports PyTorch or ``scnet``."""

import os
import sys
from argparse import REMAINDER, ArgumentParser, RawDescriptionHelpFormatter
from contextlib import contextmanager
from functools import wraps
from typing import Callable, Iterator, Optional, Sequence, Type

INPUTS = "images, folders of images, patterns such as 'a/*.jpg', names of registered data sets"


def make_parser(description: Optional[str]) -> ArgumentParser:
    """A parser whose help begins with the docstring of the tool, where %(prog)s is its name."""
    return ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)


def add_config(parser: ArgumentParser, text: str = "", **more) -> None:
    """Add --config, which Detectron2's users know as --config-file.

    Args:
        text: the end of its help.
        more: of ``add_argument``.
    """
    text = f"a file, or the name of a config that comes with the package{text}"
    names = ("--config", "--config-file")
    parser.add_argument(*names, dest="config_file", metavar="CONFIG", help=text, **more)


def add_process_arguments(parser: ArgumentParser) -> None:
    """Add those of Detectron2's ``default_argument_parser`` that say which processes there are."""
    add = parser.add_argument
    add("--num-gpus", type=int, default=1, help="per machine (%(default)s)")
    add("--num-machines", type=int, default=1, help="of all (%(default)s)")
    add("--machine-rank", type=int, default=0, help="of this machine, from 0 (%(default)s)")
    # As in Detectron2: the port is a user's own, and the same at every start, so that a process
    # which was left behind is noticed.
    user = os.getuid() if sys.platform != "win32" else 1
    port = 2**15 + 2**14 + hash(user) % 2**14
    add("--dist-url", default=f"tcp://127.0.0.1:{port}", help="of machine 0 (%(default)s)")


def add_data_arguments(parser: ArgumentParser, parts: Sequence[str] = ("train", "val")) -> None:
    """Add --train-json, --train-images, --val-json, --val-images and --val-fraction.

    The first four are repeated for several data sets, as what follows them may be KEY VALUE pairs.

    Args:
        parts: those that there are arguments for; the others count as not given.
    """
    parser.set_defaults(train_json=[], train_images=[], val_fraction=None)
    group = parser.add_argument_group(
        "own data", "in COCO format, instead of the config's; repeat them for several sets"
    )
    for part in parts:
        purpose = {"train": "to train on", "val": "to evaluate on"}[part]
        for name, help_text in (
            ("json", f"annotations {purpose}"),
            ("images", "the folder of their images, one per json"),
        ):
            group.add_argument(
                f"--{part}-{name}", action="append", default=[], metavar="PATH", help=help_text
            )
    if "train" in parts:
        group.add_argument(
            "--val-fraction",
            type=float,
            metavar="SHARE",
            help="of the images of one --train-json that are kept to evaluate on, such as 0.2",
        )


def add_schedule_arguments(parser: ArgumentParser) -> None:
    """Add --epochs, --batch and --lr."""
    group = parser.add_argument_group("schedule", "in place of the config's; the log has the rest")
    add = group.add_argument
    add("--epochs", type=float, metavar="N", help="passes over the training images")
    add("--batch", type=int, metavar="N", help="images per step, of all GPUs together")
    add("--lr", type=float, metavar="RATE", help="by default that of the config, times the batch")


def add_drawing_arguments(
    parser: ArgumentParser,
    inputs: str = INPUTS,
    output_required: bool = True,
    drawn: str = "drawn",
) -> None:
    """Add --input, --output, --threshold, --limit, --overwrite and --opts.

    Args:
        inputs: what --input may be.
        output_required: False lets --output be left out.
        drawn: what is done with detections above --threshold.
    """
    add = parser.add_argument
    add("--input", required=True, nargs="+", help=inputs)
    add("--output", required=output_required, metavar="FOLDER", help="where pictures go")
    add("--threshold", type=float, default=0.5, help=f"lowest score {drawn} (0.5)")
    add("--limit", type=int, help="stop after this many images")
    add("--overwrite", action="store_true", help="replace pictures that exist")
    add_opts(parser)


def add_opts(parser: ArgumentParser, text: str = "KEY VALUE pairs for the config, last") -> None:
    """Add --opts, which takes all that follows."""
    parser.add_argument("--opts", nargs=REMAINDER, default=[], help=text)


def ends_on_ctrl_c(main: Callable[[], None]) -> Callable[[], None]:
    """Let Ctrl-C end a tool with one sentence and the exit status 130."""

    @wraps(main)
    def wrapper() -> None:
        try:
            main()
        except KeyboardInterrupt:
            print(f"\n{program()}: ended by Ctrl-C.", file=sys.stderr)
            sys.exit(130)

    return wrapper


def program() -> str:
    """What the user typed to start this program: "scnet predict" or "predict.py"."""
    return os.path.basename(sys.argv[0])


def print_line(text: str) -> None:
    """Print a line in which there may be file names that are not in UTF-8."""
    print(text.encode(errors="backslashreplace").decode())


@contextmanager
def mistakes_in_one_line(*more: Type[Exception]) -> Iterator[None]:
    """Within it, an error in the command, the config or the data ends the tool with its message.

    Args:
        more: exceptions that are such an error, beside OSError and ValueError.

    Raises:
        SystemExit: in place of the error, with "TOOL: MESSAGE".
    """
    try:
        yield
    except (OSError, ValueError, *more) as error:
        sys.exit(f"{program()}: {error}")
