"""What the command lines of several tools share. Nothing here imports PyTorch or ``scnet``."""

import os
import sys
from argparse import REMAINDER, ArgumentParser, RawDescriptionHelpFormatter
from contextlib import contextmanager
from functools import wraps
from typing import Callable, Iterator, Optional, Type

INPUTS = "images, folders of images, patterns such as 'a/*.jpg', names of registered data sets"


def make_parser(description: Optional[str]) -> ArgumentParser:
    """A parser whose help begins with the docstring of the tool as it is written."""
    return ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)


def add_data_arguments(parser: ArgumentParser) -> None:
    """Add --train-json, --train-images, --val-json and --val-images: one's own data.

    They are repeated for several data sets, as what follows them may be KEY VALUE pairs.
    """
    group = parser.add_argument_group(
        "own data", "in COCO format, instead of the config's; repeat them for several sets"
    )
    for name, help_text in (
        ("train-json", "annotations to train on"),
        ("train-images", "the folder of their images, one per json"),
        ("val-json", "annotations to evaluate on"),
        ("val-images", "the folder of their images, one per json"),
    ):
        group.add_argument(f"--{name}", action="append", default=[], metavar="PATH", help=help_text)


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
            print(f"\n{os.path.basename(sys.argv[0])}: ended by Ctrl-C.", file=sys.stderr)
            sys.exit(130)

    return wrapper


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
        sys.exit(f"{os.path.basename(sys.argv[0])}: {error}")
