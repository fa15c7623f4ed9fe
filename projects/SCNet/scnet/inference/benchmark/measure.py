"""The speed and the memory of models, in one run and on the same images."""

import gc
from concurrent.futures import ProcessPoolExecutor
from math import nan
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, Sequence

import torch
from tqdm import tqdm

from ...peak_memory import peak_memory as process_memory
from .models import channels_last, count_flops, make_batch, make_model, optimize
from .parts import PARTS, clock, run_once
from .settings import Settings


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
