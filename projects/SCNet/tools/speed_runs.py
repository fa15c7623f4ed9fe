"""What `scnet gpu-report` measures: which models, in which precisions, and what it leaves out.

How a time is measured is in ``scnet.inference.benchmark`` and ``scnet.engine.step_benchmark``.
"""

import sys
from contextlib import contextmanager
from dataclasses import replace
from math import nan
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import torch
from torch._dynamo.exc import TorchDynamoException

from scnet.device_name import device_name
from scnet.engine.step_benchmark import measure_step
from scnet.inference.benchmark import Settings
from scnet.inference.benchmark.measure import measure_memory, measure_speed
from scnet.modeling.compiled_regions import check_compiler
from scnet.tf32 import set_tf32, tf32_in_force
from scnet_tools.paper_tables import FPS, TABLES

Row = Dict[str, Any]

BASELINE = "cascade_mask_rcnn_sem_R_50_FPN_20e_coco"
# Of this project: shipped config -> what the page calls it.
OWN_MODELS = {
    "scnet_R_50_FPN_20e_coco": "SCNet",
    "htc_R_50_FPN_20e_coco": "HTC",
    BASELINE: "Cascade Mask R-CNN, semantic branch",
}
MODELS = {
    **OWN_MODELS,
    "detectron2_cascade_mask_rcnn_R_50_FPN": "Detectron2's Cascade Mask R-CNN",
    "detectron2_mask_rcnn_R_50_FPN": "Detectron2's Mask R-CNN",
}
AS_IT_IS = "as it is"
Ways = Dict[str, Dict[str, bool]]  # what the page calls it -> fields of Settings
INFERENCE: Ways = {
    AS_IT_IS: {},
    "optimized": {"optimize": True},
    "optimized, compiled": {"optimize": True, "compile": True},
}
TRAINING: Ways = {AS_IT_IS: {}, "compiled": {"compile": True}}
IMAGES_PER_STEP = 2  # on one GPU, as in the paper, Sec. 5.1


class Precision(NamedTuple):
    """A way to compute.

    Attributes:
        name: on the page.
        dtype: see :class:`Settings`.
        tf32: see :func:`set_tf32`.
    """

    name: str
    dtype: str
    tf32: bool


PRECISIONS = (
    Precision("float32", "float32", False),
    Precision("TF32", "float32", True),
    Precision("float16", "float16", False),
    Precision("bfloat16", "bfloat16", False),
)


class Section(NamedTuple):
    """What was measured in a precision, with the flags that were in force."""

    title: str
    flags: str
    inference: List[Row]
    training: List[Row]


def measure(settings: Settings) -> Tuple[List[Section], List[str]]:
    """Measure all models in all precisions that the device has.

    Args:
        settings: of the config files of MODELS, in their order; in float32, not optimized.

    Returns:
        the sections; and what is left out, as sentences.
    """
    sections, left_out = [], []
    if settings.device == "cpu":
        left_out.append("Peak memory: PyTorch only counts what it has allocated on GPUs.")
    no_compiler = why_not_compiled(settings.device)
    if no_compiler:
        left_out.append(f"Compiled: {no_compiler}")
    inference, training = (
        {way: flags for way, flags in ways.items() if not (no_compiler and "compile" in flags)}
        for ways in (INFERENCE, TRAINING)
    )
    for name, dtype, tf32 in PRECISIONS:
        missing = why_not(name, settings.device)
        if missing:
            left_out.append(f"{name}: {missing}")
            continue
        set_tf32(tf32)
        asked = replace(settings, dtype=dtype)
        of_images = measure_inference(name, asked, inference, left_out)
        of_steps = measure_training(name, asked, training, left_out)
        sections.append(Section(name, flags_in_force(), of_images, of_steps))
    return sections, left_out


def why_not(precision: str, device: str) -> str:
    """Say why a device cannot compute in a precision; "" if it can."""
    if device == "cpu":
        reasons = {
            "TF32": "Only NVIDIA's GPUs since Ampere have it.",
            "float16": "It is measured on GPUs only, as a CPU cannot train in it.",
        }
        return reasons.get(precision, "")
    major, minor = torch.cuda.get_device_capability()
    if precision in ("TF32", "bfloat16") and major < 8:
        return f"{device_name('cuda')} has compute capability {major}.{minor}; Ampere's is 8.0."
    return ""


def why_not_compiled(device: str) -> str:
    """Say why models are not compiled; "" if they are."""
    if device == "cpu":
        return "It is measured on GPUs only, as it takes long and saves nothing on a CPU."
    try:
        check_compiler(torch.device(device))
    except ValueError as error:
        return str(error)
    return ""


@contextmanager
def measuring(what: str, left_out: List[str]) -> Iterator[None]:
    """Within it, what the GPU, the precision or the compiler cannot do ends one measurement, and is
    named.

    Args:
        what: is measured; it is printed.
        left_out: gets what could not be measured.
    """
    print(f"== {what}", file=sys.stderr)
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        left_out.append(f"{what}: The GPU has too little memory.")
    except FloatingPointError:
        left_out.append(f"{what}: A loss is not finite.")
    except TorchDynamoException as error:
        left_out.append(f"{what}: torch.compile failed. {str(error).strip().splitlines()[0]}")


def measure_inference(name: str, settings: Settings, ways: Ways, left_out: List[str]) -> List[Row]:
    """Measure one image at a time: all models as they are, and our own in the other ways, too.

    Args:
        name: of the precision.
        settings: of all models, as they are.
        ways: "as it is" and others.
        left_out: gets what cannot be measured.
    """
    rows: List[Row] = []
    for way, flags in ways.items():
        files = settings.config_files[: len(OWN_MODELS) if flags else None]
        asked = replace(settings, config_files=files, weights=[], **flags)
        with measuring(f"Inference, {name}, {way}", left_out):
            memory = [nan] * len(files) if asked.device == "cpu" else measure_memory(asked)
            found = [{**row, "MiB": mib} for row, mib in zip(measure_speed(asked), memory)]
            rows += with_ratios([{"way": way, **row} for row in found])
    paper = paper_ratios()
    return [{**row, "paper": paper.get(row["config"], nan)} for row in rows]


def measure_training(name: str, settings: Settings, ways: Ways, left_out: List[str]) -> List[Row]:
    """Measure training steps of one model after the other; see :func:`measure_inference`."""
    settings = replace(settings, batch_size=IMAGES_PER_STEP)
    rows: List[Row] = []
    for way, flags in ways.items():
        found, asked = [], replace(settings, **flags)
        for file, label in zip(asked.config_files, (OWN_MODELS if flags else MODELS).values()):
            with measuring(f"Training, {name}, {way}, {label}", left_out):
                found.append({"way": way, **measure_step(file, asked)})
        rows += with_ratios(found)
    return rows


def flags_in_force() -> str:
    """The flags that change speed and rounding, read back from PyTorch."""
    benchmark = "yes" if torch.backends.cudnn.benchmark else "no"
    return f"In force: TF32 in {tf32_in_force()}; cudnn.benchmark {benchmark}."


def with_ratios(rows: List[Row]) -> List[Row]:
    """Add "ratio", the time / that of the baseline; nan if that could not be measured."""
    baseline = {row["config"]: row["total"] for row in rows}.get(BASELINE, nan)
    return [{**row, "ratio": row["total"] / baseline} for row in rows]


def paper_ratios() -> Dict[str, float]:
    """Config -> time per image / that of the baseline, by Table 1 of the paper."""
    table = TABLES["1"]
    column = table.value_columns.index(FPS)
    speeds = {row.config: row.paper[column] for row in table.rows}
    return {config: speeds[BASELINE] / speed for config, speed in speeds.items()}
