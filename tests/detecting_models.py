"""Models without training whose detections differ clearly, so that they can be compared."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

# The spread that each of the last layers gets, by its name.
SPREAD = {
    "objectness_logits": 2.0,
    "anchor_deltas": 0.3,
    "cls_score": 2.0,
    "bbox_pred": 0.3,
    "predictor": 3.0,
}
MODELS = {
    "scnet": [],
    "naive": [
        *("MODEL.SCNET.MASK_BRANCH", "naive_sample_consistency"),
        *("MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"),
    ],
    "htc": [
        *("MODEL.SCNET.MASK_BRANCH", "interleaved"),
        *("MODEL.ROI_MASK_HEAD.NAME", "HTCMaskHead"),
        *("MODEL.SCNET.FEATURE_RELAY", "False"),
        *("MODEL.SCNET.GLOBAL_CONTEXT.ENABLED", "False"),
        *("MODEL.SCNET.SEMANTIC.RESIDUAL", "False"),
    ],
    "cascade": [
        *("MODEL.SCNET.MASK_BRANCH", "per_stage"),
        *("MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"),
        *("MODEL.SCNET.FEATURE_RELAY", "False"),
        *("MODEL.SCNET.GLOBAL_CONTEXT.ENABLED", "False"),
        *("MODEL.SCNET.SEMANTIC.SOURCE", "none"),
        *("MODEL.SCNET.SCORE_AVERAGE", "probabilities"),
        *("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", "True"),
    ],
    "boxes": ["MODEL.MASK_ON", "False"],
}


def spread_out(model, image) -> None:
    """Give the last layers random weights, such that their outputs on an image spread."""
    seen = set()

    def rescale(spread, layer, inputs, output):
        if layer in seen:
            return None
        seen.add(layer)
        nn.init.normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        call = F.conv2d if isinstance(layer, nn.Conv2d) else F.linear
        factor = spread / call(inputs[0], layer.weight).std()
        layer.weight.data *= factor
        return call(inputs[0], layer.weight)

    handles = []
    for name, layer in model.named_modules():
        spread = SPREAD.get(name.split(".")[-1])
        if spread and not name.startswith("semantic_head"):
            hook = partial(rescale, spread)
            handles.append(layer.register_forward_hook(hook))
    with torch.no_grad():
        model([{"image": image}])
    for handle in handles:
        handle.remove()
