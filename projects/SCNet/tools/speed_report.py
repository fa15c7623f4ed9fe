"""The page that gpu_report.py writes about what ``speed_runs`` has measured."""

import os
import time
from argparse import Namespace
from typing import Any, List, Sequence

import torch
from detectron2.utils.collect_env import collect_env_info
from tabulate import tabulate

import scnet
from scnet.config import read_cfg
from scnet.device_name import device_name
from scnet.inference.benchmark import Settings
from scnet.overwrite import refuse_impossible_outputs
from scnet.whole_files import whole_file
from scnet_tools.speed_runs import IMAGES_PER_STEP, MODELS, Section, measure

NAME = "gpu_report.md"
# Of the rows -> name and format on the page.
COLUMNS = {
    **{"total": ("seconds", ".4g"), "min": ("min", ".4g"), "max": ("max", ".4g")},
    **{"ratio": ("ratio", ".3f"), "paper": ("paper", ".3f"), "of limit": ("of limit", ".3g")},
    **{"MiB": ("MiB", ".0f"), "detections": ("detections", "g")},
    "channels last": ("channels_last", ""),
}
DECIDED_HERE = (
    *("MODEL.WEIGHTS", "MODEL.SCNET.OPTIMIZE_FOR_INFERENCE"),
    *("SOLVER.AMP.ENABLED", "SOLVER.AMP.DTYPE", "SOLVER.TF32"),
    *("SOLVER.BASE_LR", "SOLVER.IMS_PER_BATCH", "SOLVER.GRADIENT_ACCUMULATION"),
)
NOTES = """
All models have ResNet-50 and random weights, and get the same random images. Seconds: median of the
rounds. Ratio: seconds / those of Cascade Mask R-CNN with the semantic branch, in the same table.
Paper: the same ratio from the images per second of its Table 1, measured on one Tesla V100; "–"
where it has none. Of limit: the seconds that the convolutions and matrix products would take at the
speed of a large matrix product / seconds. MiB: what PyTorch allocated on the GPU at most.
channels_last: the layout of the weights of the convolutions in memory.

float32 and TF32 are single precision, on NVIDIA's GPUs without and with rounding to TF32. float16
and bfloat16 are mixed precision, by PyTorch's autocast, without TF32.
"""
TRAINING_NOTES = """
A step copies the images to the device, runs forward and backward, and then the optimizer, as in
train_net.py, with a learning rate of 0. Copies of the objects join the proposals, so that each mask
head trains on nearly as many regions as a step can have.
"""


def report(args: Namespace) -> str:
    """Measure what the device can do, write the page, and return it.

    Args:
        args: of gpu_report.py.

    Raises:
        FileExistsError: the folder has a page already.
        OSError: the folder cannot be written to.
        ValueError: see :class:`Settings`; or --opts has a key that has no effect.
    """
    path = os.path.join(args.output, NAME)
    if os.path.lexists(path):
        raise FileExistsError(f"'{args.output}' has {NAME} already. Choose another --output.")
    refuse_impossible_outputs([path], [])
    refuse_decided_keys(args.opts)
    files = [f"{model}.yaml" for model in MODELS]
    numbers = {"size": args.size, "rounds": args.rounds, "warmup": args.warmup}
    settings = Settings(files, device=args.device, opts=args.opts, **numbers)
    torch.backends.cudnn.benchmark = read_cfg(settings.config_files[0], args.opts).CUDNN_BENCHMARK
    page = write_page(settings, *measure(settings))
    with whole_file(path) as f:
        f.write(page)
    return page


def refuse_decided_keys(opts: Sequence[str]) -> None:
    """Refuse KEY VALUE pairs that would have no effect.

    Raises:
        ValueError: there is one; the message names it.
    """
    given = dict(zip(opts[::2], opts[1::2]))
    for key in DECIDED_HERE:
        if given.get(key):
            raise ValueError(f"--opts has {key}, which the report decides itself. Leave it out.")


def write_page(
    settings: Settings, inference: List[Section], training: List[Section], left_out: List[str]
) -> str:
    """Lay out the page; it ends with Detectron2's list of hardware and versions."""
    height, width = settings.size
    size = f"{height} x {width} (height x width)"
    description = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "versions": f"SCNet for Detectron2 {scnet.__version__}, PyTorch {torch.__version__}",
        "threads": settings.threads,
        "rounds": f"{settings.rounds}, and {settings.warmup} before to warm up",
        "options": " ".join(map(repr, settings.opts)) or "none",
    }
    parts = (
        f"# Speed on {device_name(settings.device)}",
        "\n".join(f"- {key}: {value}" for key, value in description.items()),
        NOTES.strip(),
        f"## Inference: seconds per image of {size}",
        *map(lay_out, inference),
        f"## Training: seconds per step of {IMAGES_PER_STEP} images of {size}",
        TRAINING_NOTES.strip(),
        *map(lay_out, training),
        "## Left out",
        "\n".join(f"- {reason}" for reason in left_out) or "Nothing.",
        "## Hardware and versions",
        f"```text\n{collect_env_info()}\n```",
    )
    return "\n\n".join(parts) + "\n"


def lay_out(section: Section) -> str:
    """A section with its table."""

    def cell(value: Any, form: str) -> str:
        return "–" if value is None else format(value, form)

    lines = [
        {
            "model": MODELS[row["config"]],
            **{name: cell(row[key], form) for key, (name, form) in COLUMNS.items() if key in row},
        }
        for row in section.rows
    ]
    table = tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)
    return f"### {section.title}\n\n{section.flags}\n\n{table or 'Nothing could be measured.'}"
