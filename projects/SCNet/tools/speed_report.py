"""The page that `scnet gpu-report` writes: tests, speed, and Table 2 on generated images."""

import os
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List

import torch
from detectron2.utils.collect_env import collect_env_info
from tabulate import tabulate

import scnet
from scnet.config import read_cfg
from scnet.device_name import device_name
from scnet.inference.benchmark import Settings
from scnet.inference.benchmark.parts import PARTS
from scnet.overwrite import refuse_impossible_outputs
from scnet.whole_files import whole_file
from scnet_tools.paper_runs import reproduce
from scnet_tools.speed_runs import IMAGES_PER_STEP, MODELS, Section, measure

NAME = "gpu_report.md"
TESTS = Path(__file__).resolve().parents[3] / "tests/test_gpu.py"  # not in an installed package
# Columns of the rows -> their format.
COLUMNS = {
    **{"way": "", "seconds": ".4g", "min": ".4g", "max": ".4g", "ratio": ".3f", "paper": ".3f"},
    **{"of limit": ".3g", "MiB": ".0f", "detections": "g", "channels last": ""},
    **dict.fromkeys([*PARTS, "other"], ".4g"),
}
DECIDED_HERE = (
    *("MODEL.WEIGHTS", "MODEL.SCNET.OPTIMIZE_FOR_INFERENCE"),
    *("SOLVER.AMP.ENABLED", "SOLVER.AMP.DTYPE", "SOLVER.TF32", "SOLVER.COMPILE"),
    *("SOLVER.BASE_LR", "SOLVER.IMS_PER_BATCH", "SOLVER.GRADIENT_ACCUMULATION"),
)
NOTES = """
All models have ResNet-50 and random weights, and get the same random images. Seconds: median of the
rounds. Ratio: seconds / those of Cascade Mask R-CNN with the semantic branch, in the same way and
precision. Paper: the same ratio from the images per second of its Table 1, measured on one Tesla
V100; "–" where it has none. Of limit: the seconds that the convolutions and matrix products would
take at the speed of a large matrix product / seconds. MiB: what PyTorch allocated on the GPU at
most. Channels last: the layout of the weights of the convolutions in memory. Optimized: with
optimize_for_inference. Compiled: with torch.compile. The last columns of inference are the seconds
of its parts; those of a compiled model are not seen.

float32 and TF32 are single precision, on NVIDIA's GPUs without and with rounding to TF32. float16
and bfloat16 are mixed precision, by PyTorch's autocast, without TF32.

A training step copies the images to the device, runs forward and backward, and then the optimizer,
as in train_net.py, with a learning rate of 0. Copies of the objects join the proposals, so that
each mask head trains on nearly as many regions as a step can have.
"""


def report(args: Namespace) -> str:
    """Test and measure what the device can do, write the page, and return it.

    Table 2 takes longest. The page is there before it, and written again with it.

    Args:
        args: of `scnet gpu-report`.

    Raises:
        FileExistsError: the folder has a page already.
        OSError: the folder cannot be written to.
        ValueError: see :class:`Settings`; or --opts has a key that has no effect.
        ChildProcessError: a training of Table 2 failed.
    """
    path = os.path.join(args.output, NAME)
    if os.path.lexists(path):
        raise FileExistsError(f"'{args.output}' has {NAME} already. Choose another --output.")
    refuse_impossible_outputs([path], [])
    for key, value in zip(args.opts[::2], args.opts[1::2]):
        if key in DECIDED_HERE and value:
            raise ValueError(f"--opts has {key}, which the report decides itself. Leave it out.")
    numbers = {"size": args.size, "rounds": args.rounds, "warmup": args.warmup}
    files = [f"{model}.yaml" for model in MODELS]
    settings = Settings(files, device=args.device, opts=args.opts, **numbers)
    torch.backends.cudnn.benchmark = read_cfg(settings.config_files[0], args.opts).CUDNN_BENCHMARK
    parts = [describe(settings), run_tests(), *describe_speed(settings, *measure(settings))]
    page = write(path, parts, "Not finished yet." if args.seeds else "Left out, without --seeds.")
    if args.seeds:
        page = write(path, parts, train_table2(args, settings.device))
    return page


def write(path: str, parts: List[str], table2: str) -> str:
    """Write the page, and return it; it ends with Detectron2's list of hardware and versions."""
    hardware = f"## Hardware and versions\n\n```text\n{collect_env_info()}\n```"
    page = "\n\n".join([*parts, f"## Table 2 of the paper\n\n{table2}", hardware]) + "\n"
    with whole_file(path) as f:
        f.write(page)
    return page


def describe(settings: Settings) -> str:
    """The head of the page."""
    height, width = settings.size
    description = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "versions": f"SCNet for Detectron2 {scnet.__version__}, PyTorch {torch.__version__}",
        "threads": settings.threads,
        "images": f"{height} x {width} (height x width)",
        "rounds": f"{settings.rounds}, and {settings.warmup} before to warm up",
        "options": " ".join(map(repr, settings.opts)) or "none",
    }
    lines = "\n".join(f"- {key}: {value}" for key, value in description.items())
    return f"# SCNet on {device_name(settings.device)}\n\n{lines}"


def run_tests() -> str:
    """The tests that need a GPU: what pytest says at the end."""
    if not TESTS.is_file():
        text = "Left out: they are in the repository, not in the installed package."
    else:
        print("== Tests", file=sys.stderr)
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(TESTS)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parents[1])
        text = f"```text\n{(done.stdout + done.stderr).strip()[-8000:]}\n```"
    return f"## Tests on a GPU\n\n{text}"


def describe_speed(settings: Settings, sections: List[Section], left_out: List[str]) -> List[str]:
    """The tables of all precisions, and what they do not have."""
    parts = ["## Speed", NOTES.strip()]
    for section in sections:
        for what, rows in (
            ("inference, seconds per image", section.inference),
            (f"training, seconds per step of {IMAGES_PER_STEP} images", section.training),
        ):
            parts += [f"### {section.title}: {what}", section.flags, lay_out(rows)]
    return [*parts, "### Left out", "\n".join(f"- {x}" for x in left_out) or "Nothing."]


def lay_out(rows: List[Dict[str, Any]]) -> str:
    """A table of rows as ``speed_runs`` gives them."""

    def cell(value: Any, form: str) -> str:
        return "–" if value != value else format(value, form)  # nan

    lines = []
    for row in rows:
        row = {**row, "seconds": row["total"]}
        cells = {key: cell(row[key], form) for key, form in COLUMNS.items() if key in row}
        lines.append({"model": MODELS[row["config"]], **cells})
    table = tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)
    return table or "Nothing could be measured."


def train_table2(args: Namespace, device: str) -> str:
    """Train the rows of Table 2 on generated images, as `scnet reproduce` does: its table."""
    output = Path(args.output, "table2")
    fixed = {"table": "2", "dataset": "shapes", "schedule": None, "rows": None, "weights": None}
    given = {"seeds": args.seeds, "output": str(output), "opts": ["MODEL.DEVICE", device]}
    reproduce(Namespace(**fixed, **given, num_gpus=1, dry_run=False))
    return (output / "table2.md").read_text(encoding="utf-8").strip()
