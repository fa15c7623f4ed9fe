#!/usr/bin/env python
"""Measure how fast models are, part by part, in one run and on the same images.

    python projects/SCNet/tools/benchmark.py --config-file A.yaml B.yaml ... --output FOLDER

Takes configs of SCNet and of Detectron2's generalized R-CNN. Weights are random unless --weights
is given; the low scores of random weights let as many detections through as the config allows.
"""

import argparse
import json
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Dict, List
from unittest.mock import patch

import torch
from detectron2.modeling import GeneralizedRCNN, build_model
from tabulate import tabulate
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from scnet import get_config_file, optimize_for_inference
from scnet.checkpoint import load_model
from scnet.config import read_cfg
from scnet.data import read_image

PARTS = ("backbone", "RPN", "context", "boxes", "masks", "post-processing")
NOTES = """
Times: seconds per image, medians of the rounds; min and max of the total. Context: semantic branch
and global context. Boxes: all cascade stages and non-maximum suppression. Masks: with feature
relay. Post-processing: boxes rescaled, masks pasted. Other: the total less the parts. Speed: total
of the first config / total of this one; above 1 is faster. Detections: per image. MiB: peak memory
of a process that builds the model and runs it once (GPU: what PyTorch allocated there; CPU: its
resident set). Parameters: millions of weights and biases, frozen ones too. GFLOPs: per image, of
convolutions and matrix products by their definitions, a multiply-add counted as 2. Limit: seconds
that these would take at the speed of a large matrix product, which is measured in each round.
Of limit: limit / total; it can exceed 1 with --optimize, which computes some convolutions with
fewer operations.
"""


def parse_args() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    add = parser.add_argument
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    add("--config-file", required=True, nargs="+", metavar="FILE", help="or names of shipped ones")
    add("--weights", nargs="+", metavar="FILE", help="one per config; default: random")
    add("--size", type=int, nargs=2, default=[800, 1333], metavar=("HEIGHT", "WIDTH"))
    add("--batch-size", type=int, default=1, help="images per inference (%(default)s)")
    add("--rounds", type=int, default=5, help="runs of each config that count (%(default)s)")
    add("--warmup", type=int, default=1, help="runs before those (%(default)s)")
    add("--device", default=devices[0], choices=devices, help="not MODEL.DEVICE (%(default)s)")
    add("--optimize", action="store_true", help="with scnet.optimize_for_inference")
    dtypes = ["float32", "bfloat16", "float16"]
    add("--dtype", default=dtypes[0], choices=dtypes, help="other than %(default)s: --optimize")
    add("--threads", type=int, default=torch.get_num_threads(), help="on the CPU (%(default)s)")
    add("--input", metavar="IMAGE", help="default: random images")
    add("--output", metavar="FOLDER", help="for benchmark.md and benchmark.json")
    add("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs, last")
    return parser.parse_args()


def check_args(args: argparse.Namespace) -> None:
    """Find the shipped configs; raise OSError or ValueError for what would go wrong later."""
    names = [Path(file).stem for file in args.config_file]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Two configs would be '{name}' in the table. Rename one's file.")
    args.config_file = [f if Path(f).is_file() else get_config_file(f) for f in args.config_file]
    args.weights = args.weights or [""] * len(names)
    if len(args.weights) != len(names):
        given = f"--weights has {len(args.weights)} files for {len(names)} configs."
        raise ValueError(given + " Give one for each config, in the same order.")
    if min(*args.size, args.batch_size, args.rounds, args.threads, args.warmup + 1) < 1:
        raise ValueError("--size and all numbers must be 1 or more (--warmup: 0 or more).")
    if args.dtype != "float32" and not args.optimize:
        raise ValueError(f"--dtype {args.dtype} needs --optimize.")
    if args.input:
        read_image(args.input)  # fails if it is missing or no image
    for name in ("benchmark.md", "benchmark.json"):
        if args.output and Path(args.output, name).exists():
            raise FileExistsError(f"'{args.output}' has {name} already. Choose another --output.")


def make_model(file: str, weights: str, args: argparse.Namespace) -> GeneralizedRCNN:
    """The model of a config, for inference; random weights are the same at every call."""
    cfg = read_cfg(file, args.opts)
    cfg.MODEL.DEVICE = args.device
    torch.manual_seed(0)
    return load_model(cfg, weights) if weights else build_model(cfg).eval()


def optimize(model: GeneralizedRCNN, args: argparse.Namespace) -> GeneralizedRCNN:
    return optimize_for_inference(model, getattr(torch, args.dtype)) if args.optimize else model


def make_batch(channels: str, args: argparse.Namespace) -> List[Dict]:
    """The inputs, smooth noise or copies of ``args.input``; ``channels`` is e.g. "BGR"."""
    height, width = args.size
    torch.manual_seed(0)  # the same noise at every call
    images = torch.randint(256, (args.batch_size, 3, height // 32 + 2, width // 32 + 2)).float()
    if args.input:
        image = torch.from_numpy(read_image(args.input, "RGB").copy()).permute(2, 0, 1).float()
        images = image.expand(args.batch_size, -1, -1, -1)
    images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    images = images[:, ["RGB".index(channel) for channel in channels]]
    return [{"image": image, "height": height, "width": width} for image in images]


def clock(device: torch.device) -> float:
    """The time in seconds when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@torch.no_grad()
def run_once(model: GeneralizedRCNN, batch: List[Dict]) -> Dict[str, float]:
    """Per image: the number of "detections", and the seconds in "total" and of ``PARTS``."""
    result = dict.fromkeys(("detections", "total", *PARTS), 0.0)

    def timed(part, function):
        def call(*args, **kwargs):
            start = clock(model.device)
            returned = function(*args, **kwargs)
            result[part] += clock(model.device) - start
            return returned

        return staticmethod(call)  # so that a class, too, hands it out as it is

    methods = [
        ("backbone", model.backbone, "forward"),
        ("RPN", model.proposal_generator, "forward"),
        ("context", model, "add_context"),  # SCNet only
        ("boxes", model.roi_heads, "run_cascade"),  # SCNet only
        ("boxes", model.roi_heads, "box_inference"),  # SCNet only
        ("boxes", model.roi_heads, "_forward_box"),  # Detectron2 only; SCNet does not call it
        ("masks", model.roi_heads, "_forward_mask"),
        ("post-processing", GeneralizedRCNN, "_postprocess"),  # Detectron2 calls the class's
    ]
    with ExitStack() as stack:  # takes the stopwatches off again, whatever happens
        for part, owner, name in methods:
            if hasattr(owner, name):
                stack.enter_context(patch.object(owner, name, timed(part, getattr(owner, name))))
        outputs = timed("total", model)(batch)
    result["detections"] = sum(len(output["instances"]) for output in outputs)
    return {key: value / len(batch) for key, value in result.items()}


def peak_memory(file: str, weights: str, args: argparse.Namespace) -> float:
    """MiB that this process needed at most, after one inference; for a process of its own."""
    torch.set_num_threads(args.threads)
    model = optimize(make_model(file, weights, args), args)
    run_once(model, make_batch(model.input_format, args))
    if args.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # in bytes or KiB


@torch.no_grad()
def count_flops(model: torch.nn.Module, batch) -> float:
    """Floating point operations per image of the batch."""
    with FlopCounterMode(display=False) as counter:
        model(batch)
    return counter.get_total_flops() / len(batch)


@torch.no_grad()
def matrix_product_speed(args: argparse.Namespace) -> float:
    """GFLOP per second of one matrix product that is large for the device."""
    size = 8192 if args.device == "cuda" else 2048
    x = torch.ones(size, size, device=args.device, dtype=getattr(torch, args.dtype))
    start = clock(x.device)
    torch.mm(x, x)
    return 2 * size**3 / 1e9 / (clock(x.device) - start)


def device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.split(": ")[1] for line in info.splitlines() if line.startswith("model name")]
    return names[0] if names else "of unknown make"


def summarize(rounds: List[Dict[str, float]]) -> Dict[str, float]:
    """Medians of the results of :func:`run_once`, "other" than the parts, "min" and "max"."""
    row = {key: median(r[key] for r in rounds) for key in rounds[0]}
    row["other"] = row["total"] - sum(row[part] for part in PARTS)
    totals = [r["total"] for r in rounds]
    return {**row, "min": min(totals), "max": max(totals)}


def measure(args: argparse.Namespace) -> List[Dict]:
    """The rows of the table: column -> value."""
    jobs = list(zip(args.config_file, args.weights))
    memory = []  # before there are models here: in Linux a process takes on its parent's peak
    for job in tqdm(jobs, desc="Memory", unit="config"):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            memory.append(pool.submit(peak_memory, *job, args).result())
    models = [make_model(*job, args) for job in jobs]
    batches = [make_batch(model.input_format, args) for model in models]
    flops = [count_flops(model, batch) / 1e9 for model, batch in zip(models, batches)]
    # From the state dict: gamma and beta of frozen layers are buffers in Detectron2.
    states = [model.state_dict().items() for model in models]
    parameters = [sum(v.numel() for k, v in s if k.endswith(("weight", "bias"))) for s in states]
    models = [optimize(model, args) for model in models]
    rounds = []  # interleaved: a machine that becomes slower does so for all configs
    for _ in tqdm(range(args.warmup + args.rounds), desc="Timing", unit="round"):
        limits = [count / matrix_product_speed(args) for count in flops]
        results = [run_once(model, batch) for model, batch in zip(models, batches)]
        rounds.append([{**result, "limit": limit} for result, limit in zip(results, limits)])
    rows = []
    for k, results in enumerate(zip(*rounds[args.warmup :])):
        row = {"config": Path(args.config_file[k]).stem, **summarize(results), "MiB": memory[k]}
        row["speed"] = (rows[0] if rows else row)["total"] / row["total"]
        row["parameters"] = parameters[k] / 1e6
        row["GFLOPs"] = flops[k]
        row["limit"] = row.pop("limit")  # beside the FLOPs
        row["of limit"] = row["limit"] / row["total"]
        rows.append(row)
    return rows


def main() -> None:
    args = parse_args()
    check_args(args)
    torch.set_num_threads(args.threads)
    rows = measure(args)
    settings = {
        "device": f"{args.device} ({device_name(args.device)}), {args.threads} CPU threads",
        "torch": torch.__version__,
        "images": f"{args.input or 'random'}, {args.size[0]} x {args.size[1]} (height x width)",
        "batch size": args.batch_size,
        "weights": ", ".join(weights or "random" for weights in args.weights),
        "rounds": f"{args.rounds}, and {args.warmup} before to warm up",
        "optimized": f"yes, {args.dtype}" if args.optimize else "no",
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
    formats = ("", "g", *[".4f"] * (len(PARTS) + 4), ".0f", ".2f", ".2f", ".2f", ".4f", ".2f")
    table = tabulate(rows, headers="keys", tablefmt="github", floatfmt=formats)
    report = "\n".join([*(f"- {k}: {v}" for k, v in settings.items()), NOTES, table])
    print(report)
    if args.output:
        Path(args.output).mkdir(parents=True, exist_ok=True)
        Path(args.output, "benchmark.md").write_text(report + "\n")
        numbers = json.dumps({"settings": settings, "configs": rows}, indent=2)
        Path(args.output, "benchmark.json").write_text(numbers + "\n")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"benchmark.py: {error}")
