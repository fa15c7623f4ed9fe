"""The models that a benchmark measures, and what it feeds them."""

from typing import Dict, List

import torch
from detectron2.modeling import GeneralizedRCNN, build_model
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ...checkpoint import load_model
from ...config import read_cfg
from ...modeling.compiled_regions import compile_regions
from ..optimize import optimize_for_inference
from .settings import Settings


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


@torch.no_grad()
def count_flops(model: torch.nn.Module, batch) -> float:
    """Floating point operations per image of the batch, of a model that is not compiled."""
    with FlopCounterMode(display=False) as counter:
        model(batch)
    return counter.get_total_flops() / len(batch)


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
