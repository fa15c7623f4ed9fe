"""Every parameter of the heads begins with the distribution that the authors give it."""

import math
import re
from typing import NamedTuple

import pytest
import torch
from torch import nn

from helpers import set_mask_branch

CHANNELS, FC_DIM = 64, 128  # enough numbers per parameter for a standard deviation


def zero(fan_in, fan_out):
    return "constant", 0.0


def normal(std):
    return lambda fan_in, fan_out: ("normal", std)


def kaiming(fan_in, fan_out):
    """He's normal distribution for what comes out (``c2_msra_fill``)."""
    return "normal", math.sqrt(2 / fan_out)


def xavier(fan_in, fan_out):
    return "uniform", math.sqrt(2 / (fan_in + fan_out))


def default(fan_in, fan_out):
    """PyTorch's: uniform within 1 / sqrt(fan_in)."""
    return "uniform", math.sqrt(1 / (3 * fan_in))


# The first pattern that is found in the name of a module -> its weight, its bias.
TABLE = {
    # Boxes: Xavier is the authors' choice for the shared layers, the rest is Detectron2's too.
    r"box_head\.\d\.fc\d": (xavier, zero),
    r"box_predictor\.\d\.cls_score": (normal(0.01), zero),
    r"box_predictor\.\d\.bbox_pred": (normal(0.001), zero),
    # Masks.
    r"relays\.\d\.fc": (kaiming, zero),
    r"heads\.\d\.blocks\.\d\.conv[12]": (default, default),
    r"heads\.\d\.(deconv|mask_fcn\d|fusion)": (kaiming, zero),
    r"heads\.\d\.predictor": (normal(0.001), zero),
    # The context of the whole image.
    r"semantic_head\.(lateral_convs\.p\d|embedding)": (kaiming, zero),
    r"semantic_head\.blocks\.\d\.conv[12]": (default, default),
    r"semantic_head\.blocks\.\d": (kaiming, zero),
    r"semantic_head\.predictor": (normal(0.01), default),
    r"global_context_head\.blocks\.\d\.conv[12]": (default, default),
    r"global_context_head\.classifier": (normal(0.01), zero),
    # Proposals.
    r"rpn_head\.": (normal(0.01), zero),
}


class Measured(NamedTuple):
    kind: str
    mean: float
    std: float


def measure(x) -> Measured:
    """The kind of distribution, told from the mean absolute value: 0.798 or 0.866 deviations."""
    x = x.detach().double()
    mean, std = x.mean().item(), x.std(correction=0).item()
    if std == 0:
        return Measured("constant", mean, 0.0)
    ratio = (x - mean).abs().mean().item() / std
    return Measured("normal" if ratio < 0.832 else "uniform", mean, std)


def fans(module):
    """Numbers of inputs and outputs; He's rule takes the first dimension times the kernel as
    outputs, also where a deconvolution has its inputs there."""
    kernel = math.prod(module.weight.shape[2:])
    return module.weight.shape[1] * kernel, module.weight.shape[0] * kernel


def expected(name, module, parameter):
    for pattern, (weight, bias) in TABLE.items():
        if re.search(pattern, name):
            return (weight if parameter == "weight" else bias)(*fans(module))
    raise AssertionError(f"the table has no row for {name}")


@pytest.mark.parametrize("branch", ["sample_consistency", "interleaved"])
def test_initial_values(tiny_cfg, make_model, branch):
    set_mask_branch(tiny_cfg, branch)
    tiny_cfg.MODEL.SCNET.SEMANTIC.RESIDUAL = branch == "sample_consistency"
    for key in ("FPN.OUT_CHANNELS", "SEM_SEG_HEAD.CONVS_DIM", "ROI_MASK_HEAD.CONV_DIM"):
        tiny_cfg.merge_from_list([f"MODEL.{key}", CHANNELS])
    tiny_cfg.MODEL.ROI_BOX_HEAD.FC_DIM = FC_DIM
    seen = set()
    for name, module in make_model(tiny_cfg).named_modules():
        if name.startswith("backbone") or not hasattr(module, "weight"):
            continue
        for parameter, value in module.named_parameters(recurse=False):
            kind, std = expected(name, module, parameter)
            found = measure(value)
            count = value.numel()
            message = f"{name}.{parameter}: {found}, not {kind} with {std}"
            assert abs(found.mean) <= 5 * std / math.sqrt(count), message
            # Five standard errors; with few numbers there is not enough to tell the kind by.
            assert abs(found.std - std) <= 5 * std / math.sqrt(2 * count), message
            assert found.kind == kind or count < 1000, message
            seen.add(name)
    patterns = [p for p in TABLE if any(re.search(p, name) for name in seen)]
    only_in_the_other = {
        "sample_consistency": {r"semantic_head\.blocks\.\d"},
        "interleaved": {
            r"relays\.\d\.fc",
            r"heads\.\d\.blocks\.\d\.conv[12]",
            r"semantic_head\.blocks\.\d\.conv[12]",
        },
    }[branch]
    assert set(TABLE) - set(patterns) <= only_in_the_other


def test_the_measure_tells_distributions_apart():
    x = torch.empty(2000)
    assert measure(nn.init.normal_(x, std=0.3)).kind == "normal"
    assert measure(nn.init.uniform_(x, -0.3, 0.3)).kind == "uniform"
    assert measure(nn.init.zeros_(x)) == ("constant", 0.0, 0.0)
