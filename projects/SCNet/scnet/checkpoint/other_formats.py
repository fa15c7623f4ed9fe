"""Weights in files of other projects, in the form that Detectron2's checkpointer takes.

Detectron2 does the same where it reads such files, but with whatever code they carry.
"""

from typing import Any, Dict

from .reading import check_named


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
