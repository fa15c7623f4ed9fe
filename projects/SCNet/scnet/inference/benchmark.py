"""How fast models are, part by part, in one run and on the same images."""

import gc
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import nan
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
import torch
from detectron2.modeling import GeneralizedRCNN, build_model
from detectron2.modeling.poolers import ROIPooler
from tabulate import tabulate
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle
from tqdm import tqdm

from ..checkpoint import load_model
from ..config import find_config, read_cfg
from ..data import read_image
from ..device_name import device_name
from ..image_kind import COLOUR, ImageKind
from ..modeling.compiled_regions import compile_regions, is_compiled
from ..modeling.context_pooler import ContextPooler
from ..peak_memory import peak_memory as process_memory
from ..tf32 import set_tf32_alike
from ..whole_files import whole_file
from .optimize import optimize_for_inference

PARTS = ("backbone", "RPN", "context", "boxes", "masks", "post-processing")
NOTES = """
Times: seconds per image, medians of the rounds; min and max of the total. A part lasts until the
next one begins. Context: semantic branch and global context. Boxes: all cascade stages and
non-maximum suppression. Masks: with feature relay. Post-processing: boxes rescaled, masks pasted.
Other: the total less the parts; images normalized and padded. Speed: total of the first config /
total of this one; above 1 is faster. Detections: per image. Parameters: millions of weights and
biases, frozen ones too. GFLOPs: per image, of convolutions and matrix products by their
definitions, a multiply-add counted as 2. Limit: seconds that these would take at the speed of a
large matrix product in the precision of the convolutions, which is measured in each round.
Of limit: limit / total; it can exceed 1 with --optimize, which computes some convolutions with
fewer operations. Channels last: the layout of the weights in memory. MiB: peak memory of building
the model and running it once (GPU: what PyTorch allocated there; CPU: the resident set of a process
that does nothing else).
"""


@dataclass
class Settings:
    """What is measured, and how.

    Attributes:
        config_files: files, or names of shipped ones.
        weights: one file per config; none for random weights.
        size: height and width of the images.
        batch_size: images per inference.
        rounds: runs of each config that count.
        warmup: runs before those.
        device: "cpu" or "cuda", not MODEL.DEVICE; by default "cuda" if there is one.
        optimize: use :func:`optimize_for_inference`.
        compile: use ``torch.compile``, see :func:`compile_regions`.
        dtype: of convolutions and matrix products, by PyTorch's autocast; "float32" for none.
        threads: on the CPU; by default what PyTorch chooses.
        input: an image; by default random ones.
        opts: KEY VALUE pairs for all configs.

    Raises:
        OSError, ValueError: something would go wrong later.
    """

    config_files: List[str]
    weights: List[str] = field(default_factory=list)
    size: Sequence[int] = (800, 1333)
    batch_size: int = 1
    rounds: int = 5
    warmup: int = 1
    device: str = ""
    optimize: bool = False
    compile: bool = False
    dtype: str = "float32"
    threads: int = field(default_factory=torch.get_num_threads)
    input: Optional[str] = None
    opts: Sequence[str] = ()

    def __post_init__(self) -> None:
        files, names = self.config_files, [Path(file).stem for file in self.config_files]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Two configs would be '{name}' in the table. Rename one's file.")
        self.config_files = [find_config(file) for file in files]
        self.weights = self.weights or [""] * len(names)
        if len(self.weights) != len(names):
            raise ValueError(
                f"--weights has {len(self.weights)} files for {len(names)} configs. Give one for "
                "each config, in the same order."
            )
        has_gpu = torch.cuda.is_available()
        self.device = self.device or ("cuda" if has_gpu else "cpu")
        if self.device == "cuda" and not has_gpu:
            raise ValueError("--device is cuda, but PyTorch sees no GPU here.")
        asked = dict(zip(self.opts[::2], self.opts[1::2])).get("MODEL.DEVICE", self.device)
        if asked != self.device:
            raise ValueError(
                f"--opts has MODEL.DEVICE {asked}, but --device is {self.device}, also where it is "
                "not given. Leave out MODEL.DEVICE."
            )
        if min(*self.size, self.batch_size, self.rounds, self.threads, self.warmup + 1) < 1:
            raise ValueError("--size and all numbers must be 1 or more (--warmup: 0 or more).")
        if self.input:
            self.read_input()  # fails if it is missing or no image

    def read_input(self) -> np.ndarray:
        """Read the image as the first config allows: (H, W, 3) uint8, RGB.

        Raises:
            FileNotFoundError, ValueError: see :func:`scnet.data.read_image`; or the model takes no
                colours of 8 bits.
        """
        cfg = read_cfg(self.config_files[0], self.opts)
        kind = ImageKind.of(cfg)
        if kind != COLOUR:
            raise ValueError(f"--input is a photo, but the first config has {kind}. Leave it out.")
        return read_image(str(self.input), "RGB", cfg.INPUT.MAX_PIXELS)


def benchmark(settings: Settings, folder: Optional[str] = None) -> str:
    """Measure, and report in Markdown.

    Args:
        folder: gets benchmark.md, the report, and benchmark.json, the numbers.

    Raises:
        FileExistsError: the folder has such files.
    """
    for name in ("benchmark.md", "benchmark.json"):
        if folder and Path(folder, name).exists():
            raise FileExistsError(f"'{folder}' has {name} already. Choose another --output.")
    torch.set_num_threads(settings.threads)
    tf32 = set_tf32_alike() if settings.device == "cuda" else "no, not on a CPU"
    rows = measure(settings)
    height, width = settings.size
    description = {
        "device": f"{device_name(settings.device)}, {settings.threads} CPU threads",
        "torch": torch.__version__,
        "images": f"{settings.input or 'random'}, {height} x {width} (height x width)",
        "batch size": settings.batch_size,
        "weights": ", ".join(weights or "random" for weights in settings.weights),
        "rounds": f"{settings.rounds}, and {settings.warmup} before to warm up",
        "optimized": "yes" if settings.optimize else "no",
        "compiled": "yes" if settings.compile else "no",
        "precision": settings.dtype,
        "TF32 in float32": tf32,
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
    seconds = [".4f"] * (len(PARTS) + 4)
    formats = ("", "g", *seconds, ".2f", ".2f", ".2f", ".4f", ".2f", "", ".0f")
    table = tabulate(rows, headers="keys", tablefmt="github", floatfmt=formats)
    report = "\n".join([*(f"- {k}: {v}" for k, v in description.items()), NOTES, table])
    if folder:
        numbers = json.dumps({"settings": description, "configs": rows}, indent=2)
        for name, text in {"benchmark.md": report, "benchmark.json": numbers}.items():
            with whole_file(os.path.join(folder, name)) as f:
                f.write(text + "\n")
    return report


def make_model(file: str, weights: str, settings: Settings) -> GeneralizedRCNN:
    """The model of a config, for inference; random weights are the same at every call."""
    cfg = read_cfg(file, settings.opts)
    cfg.MODEL.DEVICE = settings.device
    if cfg.MODEL.BACKBONE.NAME == "build_timm_fpn_backbone":
        cfg.MODEL.TIMM.PRETRAINED = False  # nothing is fetched
    torch.manual_seed(0)
    return load_model(cfg, weights) if weights else build_model(cfg).eval()


def optimize(model: GeneralizedRCNN, settings: Settings) -> GeneralizedRCNN:
    """The model as the settings ask for: optimized, compiled, and in their precision."""
    dtype = getattr(torch, settings.dtype)
    if settings.optimize:
        return optimize_for_inference(model, dtype, settings.compile)
    if settings.compile:
        compile_regions(model)
    if dtype != torch.float32:
        model.forward = torch.autocast(settings.device, dtype)(model.forward)
    return model


def channels_last(model: nn.Module) -> str:
    """Whether the weights of the convolutions have this layout in memory: "yes" or "no"."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    large = [w for w in weights if min(w.shape[1], w[0, 0].numel()) > 1]  # else both are the same
    there = all(w.is_contiguous(memory_format=torch.channels_last) for w in large)
    return "yes" if there else "no"


def make_batch(order: str, settings: Settings, channels: int = 3) -> List[Dict]:
    """The inputs: smooth noise, or copies of the image of the settings.

    Args:
        order: of three channels, e.g. "BGR".
        channels: their number; others than three repeat red, green and blue.
    """
    colours = order if channels == 3 else ("RGB" * channels)[:channels]
    height, width = settings.size
    torch.manual_seed(0)  # the same noise at every call
    images = torch.randint(256, (settings.batch_size, 3, height // 32 + 2, width // 32 + 2)).float()
    if settings.input:
        image = torch.from_numpy(settings.read_input().copy()).permute(2, 0, 1).float()
        images = image.expand(settings.batch_size, -1, -1, -1)
    images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    images = images[:, ["RGB".index(colour) for colour in colours]]
    return [{"image": image, "height": height, "width": width} for image in images]


def clock(device: torch.device) -> float:
    """The time in seconds when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Stopwatch:
    """The seconds that each part of a model takes. A part lasts until another one begins."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: Dict[str, float] = {}
        self.part: Optional[str] = None
        self.since = 0.0

    def begin(self, part: Optional[str]) -> None:
        """Stop the part that is running, and start another one; None to stop."""
        if part == self.part:
            return
        now = clock(self.device)
        if self.part is not None:
            self.seconds[self.part] = self.seconds.get(self.part, 0.0) + now - self.since
        self.part, self.since = part, now


def watch_parts(model: GeneralizedRCNN, watch: Stopwatch) -> Iterator[RemovableHandle]:
    """Let the modules of a model, of SCNet or of Detectron2, say which part begins.

    Not those of a compiled model: what they would run is none of its graphs.

    Yields:
        the hooks that do it.
    """
    if is_compiled(model):
        return
    heads = model.roi_heads
    for part, module in (
        ("backbone", model.backbone),
        ("context", getattr(model, "semantic_head", None)),  # SCNet only
        ("context", getattr(model, "global_context_head", None)),  # SCNet only
        ("RPN", model.proposal_generator),
        ("boxes", heads),
    ):
        if module is not None:
            yield module.register_forward_pre_hook(lambda *_, part=part: watch.begin(part))
    yield heads.register_forward_hook(lambda *_: watch.begin("post-processing"))

    # The masks begin where regions are pooled once more after the last box stage.
    predictors = heads.box_predictor
    last = predictors[-1] if isinstance(predictors, nn.ModuleList) else predictors
    boxes_done: List[bool] = []
    yield heads.register_forward_pre_hook(lambda *_: boxes_done.clear())
    yield last.register_forward_hook(lambda *_: boxes_done.append(True))
    for module in heads.modules():
        if isinstance(module, (ContextPooler, ROIPooler)):
            yield module.register_forward_pre_hook(
                lambda *_: watch.begin("masks") if boxes_done else None
            )


@torch.no_grad()
def run_once(model: GeneralizedRCNN, batch: List[Dict]) -> Dict[str, float]:
    """Per image: the number of "detections", and the seconds in "total" and of ``PARTS``, which are
    nan for a compiled model."""
    watch = Stopwatch(model.device)
    with ExitStack() as stack:  # takes the hooks off again, whatever happens
        for hook in watch_parts(model, watch):
            stack.enter_context(hook)
        watch.begin("other")
        outputs = model(batch)
        watch.begin(None)
    unseen = nan if is_compiled(model) else 0.0
    result = {
        "detections": float(sum(len(output["instances"]) for output in outputs)),
        "total": sum(watch.seconds.values()),
        **{part: watch.seconds.get(part, unseen) for part in PARTS},
    }
    return {key: value / len(batch) for key, value in result.items()}


def peak_memory(file: str, weights: str, settings: Settings) -> float:
    """MiB that this process needs at most to build a model and run it once.

    On a GPU it is what PyTorch has allocated there from now on; nothing else should be there. On a
    CPU a process can only tell its peak since it began: it should do nothing else.
    """
    torch.set_num_threads(settings.threads)
    if settings.device == "cuda":
        gc.collect()  # models that were measured before
        torch.cuda.reset_peak_memory_stats()
    model = optimize(make_model(file, weights, settings), settings)
    run_once(model, make_batch(model.input_format, settings, len(model.pixel_mean)))
    if settings.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return process_memory() or nan


@torch.no_grad()
def count_flops(model: torch.nn.Module, batch) -> float:
    """Floating point operations per image of the batch, of a model that is not compiled."""
    with FlopCounterMode(display=False) as counter:
        model(batch)
    return counter.get_total_flops() / len(batch)


@torch.no_grad()
def matrix_product_speed(settings: Settings) -> float:
    """GFLOP per second of one matrix product that is large for the device."""
    size = 8192 if settings.device == "cuda" else 2048
    if settings.device == "cpu" and settings.dtype != "float32":
        size = 1024  # many CPUs take a hundred times longer
    x = torch.ones(size, size, device=settings.device, dtype=getattr(torch, settings.dtype))
    start = clock(x.device)
    torch.mm(x, x)
    return 2 * size**3 / 1e9 / (clock(x.device) - start)


def summarize(rounds: Sequence[Dict[str, float]]) -> Dict[str, float]:
    """Medians of what each round has, and "min" and "max" of its "total"."""
    row = {key: median(r[key] for r in rounds) for key in rounds[0]}
    totals = [r["total"] for r in rounds]
    return {**row, "min": min(totals), "max": max(totals)}


def measure(settings: Settings) -> List[Dict]:
    """The rows of the table: column -> value."""
    memory = measure_memory(settings)  # first: in Linux a process takes on its parent's peak
    return [{**row, "MiB": mib} for row, mib in zip(measure_speed(settings), memory)]


def measure_memory(settings: Settings) -> List[float]:
    """The result of :func:`peak_memory` for each config."""
    memory = []
    jobs = list(zip(settings.config_files, settings.weights))
    for file, weights in tqdm(jobs, desc="Memory", unit="config"):
        if settings.device == "cuda":
            memory.append(peak_memory(file, weights, settings))
            continue
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            memory.append(pool.submit(peak_memory, file, weights, settings).result())
    return memory


def measure_speed(settings: Settings) -> List[Dict]:
    """The rows of the table without the memory."""
    models = [make_model(*job, settings) for job in zip(settings.config_files, settings.weights)]
    batches = [make_batch(model.input_format, settings, len(model.pixel_mean)) for model in models]
    flops = [count_flops(model, batch) / 1e9 for model, batch in zip(models, batches)]
    # From the state dict: gamma and beta of frozen layers are buffers in Detectron2.
    states = [model.state_dict().items() for model in models]
    parameters = [sum(v.numel() for k, v in s if k.endswith(("weight", "bias"))) for s in states]
    models = [optimize(model, settings) for model in models]
    rounds = []  # interleaved: a machine that becomes slower does so for all configs
    for _ in tqdm(range(settings.warmup + settings.rounds), desc="Timing", unit="round"):
        speed = matrix_product_speed(settings)
        results = [run_once(model, batch) for model, batch in zip(models, batches)]
        rounds.append([{**result, "limit": n / speed} for result, n in zip(results, flops)])
    rows: List[Dict] = []
    for k, of_config in enumerate(zip(*rounds[settings.warmup :])):
        name = Path(settings.config_files[k]).stem
        row: Dict[str, Any] = {"config": name, **summarize(of_config)}
        row["other"] = row["total"] - sum(row[part] for part in PARTS)
        row["speed"] = (rows[0] if rows else row)["total"] / row["total"]
        row["parameters"] = parameters[k] / 1e6
        row["GFLOPs"] = flops[k]
        row["limit"] = row.pop("limit")  # beside the FLOPs
        row["of limit"] = row["limit"] / row["total"]
        row["channels last"] = channels_last(models[k])
        rows.append(row)
    return rows
