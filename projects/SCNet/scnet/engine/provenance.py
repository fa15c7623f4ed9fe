"""What it takes to repeat a run: the command, the versions, the state of the code."""

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Dict, Optional

import detectron2
import torch
import torchvision

from .json_lines import drop_half_line

NAME = "runs.jsonl"
PACKAGE = Path(__file__).parents[1]
PACKAGES = ("fvcore", "iopath", "numpy", "opencv-python", "opencv-python-headless", "pycocotools")


def save_record(folder: str, **more) -> None:
    """Append a line to ``runs.jsonl``, at every start of a run and every time it goes on.

    Args:
        folder: OUTPUT_DIR; its ``config.yaml`` has the config.
        more: further entries of the line.
    """
    record = {
        "time": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "command": sys.argv,
        "folder": os.getcwd(),
        "versions": versions(),
        "git": git_state(PACKAGE),
        **more,
    }
    path = os.path.join(folder, NAME)
    drop_half_line(path)
    with open(path, "a") as f:
        f.write(json.dumps(record) + "\n")


def versions() -> Dict[str, str]:
    """Collect the versions of Python and of the packages that take part."""
    found = {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "detectron2": detectron2.__version__,
    }
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # of OpenCV there is one of two
    return found


def git_state(folder: Path) -> Optional[Dict[str, str]]:
    """Ask git for the commit of the code in a folder, and for what differs from it.

    Returns:
        "commit", and "changes" as a patch, empty if there are none; None if the code is not
        in a git repository, or there is no git.
    """

    def git(*args: str) -> str:
        command = ["git", "-C", str(folder), *args]
        output = subprocess.run(command, capture_output=True, check=True).stdout
        return output.decode(errors="backslashreplace")  # files may have any encoding

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # not merely inside someone's repository
        return {"commit": git("rev-parse", "HEAD").strip(), "changes": git("diff", "HEAD")}
    except (OSError, subprocess.CalledProcessError):
        return None
