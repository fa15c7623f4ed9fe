"""Weights in files of other projects, in the form that Detectron2's checkpointer takes.

Detectron2 does the same where it reads such files, but with whatever code they carry.
"""

from typing import Any, Dict, Mapping

from torch import nn

from .reading import CONVERTER, check_named
from .torchvision_weights import IMAGENET_PIXELS, is_resnet, to_detectron2

TIMM = "backbone.bottom_up.model."  # the parameters of a TimmBackbone in the whole model


def from_another_program(
    content: Dict[str, Any], filename: str, model: nn.Module
) -> Dict[str, Any]:
    """Find the weights in a file of ``torch.save``, by the names that Detectron2's models have.

    They may be the "state_dict" of the file; names may have the prefixes of PyTorch's wrappers;
    a model of timm goes into the backbone of timm; and a ResNet of torchvision or timm otherwise
    becomes one of Detectron2.

    Args:
        content: of the file, with all of it as "model" if it had none.
        filename: for messages.
        model: that the weights are for.

    Raises:
        ValueError: it is a checkpoint of OpenMMLab, whose other names a tool converts.
    """
    weights = check_named(content["model"], filename)
    if isinstance(weights.get("state_dict"), dict):
        if "meta" in weights:
            raise ValueError(
                f"'{filename}' is a checkpoint of OpenMMLab (mmdet). Convert it first: "
                f"{CONVERTER} {filename} CONVERTED.pth."
            )
        weights = check_named(weights["state_dict"], filename)
    weights = {_without_wrappers(name): value for name, value in weights.items()}
    if is_below(TIMM, weights, model):
        weights = {TIMM + name: value for name, value in weights.items()}
        return {**content, "model": weights}
    if not is_resnet(weights):
        return {**content, "model": weights}
    # Detectron2's checkpointer finds the parameters by the ends of their names, if it is told to.
    resnet = {**to_detectron2(weights), **IMAGENET_PIXELS}
    return {"model": resnet, "__author__": "torchvision", "matching_heuristics": True}


def is_below(prefix: str, weights: Mapping[str, Any], model: nn.Module) -> bool:
    """Whether weights have names that a model has below a prefix, and none that it has itself."""
    names = model.state_dict().keys()
    return not names & weights.keys() and any(prefix + name in names for name in weights)


def _without_wrappers(name: str) -> str:
    """Drop what PyTorch's wrappers for distributed and for compiled models put into a name."""
    return name.removeprefix("module.").replace("_orig_mod.", "")


def from_model_zoo(content: Dict[str, Any], filename: str) -> Dict[str, Any]:
    """Convert the content of a pickle of Detectron2's model zoo, or of Detectron's before it.

    The former is as it should be. The latter holds arrays in Caffe2's layout, or has them as
    "blobs".

    Raises:
        ValueError: the "blobs" are not values by their names.
    """
    if "model" in content and "__author__" in content:
        return content
    blobs = check_named(content.get("blobs", content), filename)
    arrays = {name: x for name, x in blobs.items() if not name.endswith("_momentum")}
    return {"model": arrays, "__author__": "Caffe2", "matching_heuristics": True}


def from_pycls(content: Dict[str, Any], filename: str) -> Dict[str, Any]:
    """Convert the content of a file of pycls, which has the weights as "model_state".

    Raises:
        ValueError: the file has no "model_state", or it is not values by their names.
    """
    if "model_state" not in content:
        raise ValueError(f"'{filename}' has no 'model_state', as files of pycls (.pyth) have.")
    weights = check_named(content["model_state"], filename).items()
    model = {name: x for name, x in weights if not name.endswith("num_batches_tracked")}
    return {"model": model, "__author__": "pycls", "matching_heuristics": True}
