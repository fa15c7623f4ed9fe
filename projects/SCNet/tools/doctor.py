#!/usr/bin/env python
"""Say what is installed here, what works, and what to install for what does not.

    %(prog)s

The exit status is 1 if something that every command needs is missing, too old, or does not work.
Put what it prints into a bug report.
"""

import os
import platform
import sys
from argparse import Namespace
from importlib import metadata
from typing import Iterator, List, NamedTuple

from scnet_tools.arguments import ends_on_ctrl_c, make_parser, mistakes_in_one_line

DISTRIBUTION = "detectron2-scnet"


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        what: was looked at.
        here: what was found.
        to_do: what to do about it; "" if it is as it should be.
        needed: by every command, not only for something.
    """

    what: str
    here: str
    to_do: str = ""
    needed: bool = True


def parse_args() -> Namespace:
    return make_parser(__doc__).parse_args()


def packages() -> Iterator[Finding]:
    """Compare the packages that this one asks for, its extras too, with those that are there."""
    from packaging.requirements import Requirement

    yield Finding(DISTRIBUTION, metadata.version(DISTRIBUTION))
    for text in metadata.requires(DISTRIBUTION) or []:
        required = Requirement(text)
        base = required.marker is None
        extra = "" if base else text.rpartition("extra == ")[2].strip("\"'")
        what = required.name if base else f"{required.name} (extra '{extra}')"
        install = f"pip install '{required.name}{required.specifier}'"
        try:
            here = metadata.version(required.name)
        except metadata.PackageNotFoundError:
            yield Finding(what, "missing", install, base)
            continue
        fits = required.specifier.contains(here, prereleases=True)
        yield Finding(what, here if fits else f"{here}, too old", "" if fits else install, base)


def imports() -> Iterator[Finding]:
    """Import this package, and with it Detectron2 and OpenCV."""
    try:
        import scnet
    except ImportError as error:
        yield Finding("import scnet", "fails", str(error))
        return
    yield Finding("import scnet", os.path.dirname(scnet.__file__))
    try:
        from detectron2 import _C  # noqa: F401
    except ImportError:
        yield Finding(
            "Detectron2's compiled part",
            "missing",
            "needed for deformable convolutions and rotated boxes only: docs/installation.md",
            needed=False,
        )
    else:
        yield Finding("Detectron2's compiled part", "there")


def devices() -> Iterator[Finding]:
    """Compute on the CPU and on each GPU what the model computes there with torchvision."""
    try:
        import torch
        from torchvision.ops import nms, roi_align
    except ImportError as error:
        yield Finding("PyTorch", "cannot be imported", str(error))
        return
    names = {"cpu": f"{platform.machine()}, {os.cpu_count()} cores"}
    for k in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(k)
        name = torch.cuda.get_device_name(k)
        names[f"cuda:{k}"] = f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if len(names) == 1:
        if torch.version.cuda:
            reason = f"PyTorch is built for CUDA {torch.version.cuda} and sees none"
            to_do = "if there is one, nvidia-smi must list it, with a driver for this CUDA"
        else:
            reason = "PyTorch is built without CUDA"
            to_do = "if there is one, install PyTorch for it: https://pytorch.org/get-started"
        yield Finding("GPU", f"none: {reason}", to_do, needed=False)
    for device, name in names.items():
        try:
            boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]], device=device)
            nms(boxes, boxes[:, 2], 0.5)
            roi_align(torch.ones(1, 1, 4, 4, device=device), [boxes], 2)
        except (AssertionError, RuntimeError) as error:  # as PyTorch and torchvision raise
            reason = str(error).splitlines()[0]
            to_do = f"install PyTorch and torchvision that are built for each other ({reason})"
            yield Finding(device, f"{name}: computes nothing", to_do)
        else:
            yield Finding(device, f"{name}: works")


def environment() -> str:
    """Detectron2's own report, without the compiler flags of PyTorch; "" without Detectron2."""
    try:
        from detectron2.utils.collect_env import collect_env_info
    except ImportError:
        return ""
    return collect_env_info().partition("\nPyTorch built with")[0]


@ends_on_ctrl_c
def main() -> None:
    parse_args()
    with mistakes_in_one_line(ImportError):  # of what this program itself needs
        from tabulate import tabulate

        findings: List[Finding] = [*packages(), *imports(), *devices()]
    print(environment())
    print(tabulate([x[:3] for x in findings], ["", "here", "to do"], disable_numparse=True))
    failed = [x.what for x in findings if x.to_do and x.needed]
    if failed:
        sys.exit(f"\nThis must be put right first: {', '.join(failed)}.")
    print("\nAll that every command needs works here.")


if __name__ == "__main__":
    main()
