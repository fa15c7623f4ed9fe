"""How long each part of a model takes."""

import time
from contextlib import ExitStack
from math import nan
from typing import Dict, Iterator, List, Optional

import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.modeling.poolers import ROIPooler
from torch import nn
from torch.utils.hooks import RemovableHandle

from ...modeling.compiled_regions import is_compiled
from ...modeling.context_pooler import ContextPooler

PARTS = ("backbone", "RPN", "context", "boxes", "masks", "post-processing")


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
