"""SCNet at inference as a function of tensors, from image to masks.

Shapes: H, W the size of the image, R detections, M the side of the masks of boxes.
"""

from typing import List, Tuple

import torch
from detectron2.export import TracingAdapter
from detectron2.modeling import SwinTransformer
from torch import Tensor

from ..modeling.backbone.transformers import TRANSFORMERS
from ..modeling.compiled_regions import is_compiled
from ..modeling.meta_arch import SCNet
from .pasting import paste


def tracing_adapter(model: SCNet) -> TracingAdapter:
    """Detectron2's adapter, which maps an image to what :func:`detect` returns.

    Args:
        model: is put into evaluation mode.

    Raises:
        ValueError: the model is no SCNet, is compiled, or has no limit to the number of detections;
            or its backbone would be traced for images of one size.
    """
    if not isinstance(model, SCNet):
        raise ValueError(
            f"Only MODEL.META_ARCHITECTURE 'SCNet' can be exported, not a {type(model).__name__}."
        )
    if is_compiled(model):
        raise ValueError(
            "A compiled model cannot be exported. Give a copy of it (copy.deepcopy), which is not "
            "compiled."
        )
    if model.roi_heads.box_predictor[-1].test_topk_per_image < 0:
        raise ValueError(
            "A model without a limit to the number of detections cannot be exported. Set "
            "TEST.DETECTIONS_PER_IMAGE to a number above 0."
        )
    check_backbone(model)
    # What the image shows and how large it is does not matter.
    image = (
        torch.rand(len(model.pixel_mean), 90, 122, generator=torch.Generator().manual_seed(0)) * 255
    )
    return TracingAdapter(model, image, detect).eval()


def check_backbone(model: SCNet) -> None:
    """Refuse a transformer whose windows would be traced for images of one size only.

    Raises:
        ValueError: see above; or its images are so small that PyTorch cannot write Swin's shifted
            windows, of which one would be the whole map.
    """
    side = model.backbone.padding_constraints.get("square_size", 0)
    for module in model.backbone.modules():
        if isinstance(module, TRANSFORMERS):
            window = module.layers[0].window_size if isinstance(module, SwinTransformer) else 0
            if side <= 32 * window:
                raise ValueError(
                    f"{type(module).__name__} divides an image into windows whose number an export "
                    "cannot vary. Set MODEL.BACKBONE.SQUARE_PAD to a side that all images are "
                    f"padded to, such as 1344; it must be above {32 * window}."
                )


def detect(model: SCNet, image: Tensor) -> Tuple[Tensor, ...]:
    """Run the model's own inference on one image.

    Args:
        image: (C, H, W) float32, values and channels as the config has them: 0 to 255, in the order
            of INPUT.FORMAT.

    Returns:
        boxes (R, 4): x1, y1, x2, y2 in pixels of the image; scores (R,), the highest first;
        labels (R,) int64; and, if the model predicts masks, masks (R, H, W) bool, and
        mask_probabilities (R, M, M), which they are made of, each within its box.
    """
    (found,) = model.inference([{"image": image}], do_postprocess=False)
    # Without the box that stands for none, too: scnet.modeling.at_least_one.
    found = found[found.pred_boxes.nonempty()]
    boxes = found.pred_boxes.tensor
    if not found.has("pred_masks"):
        return boxes, found.scores, found.pred_classes
    probabilities = found.pred_masks[:, 0]
    masks = paste(probabilities, boxes, (image.shape[-2], image.shape[-1]))
    return boxes, found.scores, found.pred_classes, masks, probabilities


def names_of_outputs(model: SCNet) -> List[str]:
    """The names of what :func:`detect` returns, in order."""
    names = ["boxes", "scores", "labels"]
    return names + ["masks", "mask_probabilities"] if model.roi_heads.mask_on else names
