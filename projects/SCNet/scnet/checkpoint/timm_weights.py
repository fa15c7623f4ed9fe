"""Getting weights of timm by their names (``timm://``), from Hugging Face."""

import io
from typing import Any, List

import torch

from ..modeling.backbone.require_timm import require_timm
from ..modeling.backbone.timm_names import PREFIX, known_to_timm
from .converted import ConvertedWeightsHandler
from .hashes import verify_as_kept
from .hub import download
from .reading import read_safetensors, read_torch

FILES = ("model.safetensors", "pytorch_model.bin")  # the first that there is
AGAIN = "Delete it and fetch it again."


class TimmHandler(ConvertedWeightsHandler):
    """Downloads the weights through huggingface_hub, verifies their hash, and converts them.

    timm gives them the names that the parameters have in its model, without the classifier.

    Raises:
        ValueError: timm is missing or has no such weights; or the file is not what its hash says.
        OSError: without network; the message says what to do.
    """

    prefix = PREFIX
    suffix = ".pth"

    def convert(self, name: str, folder: str) -> bytes:
        weights = PREFIX + name
        known, timm = known_to_timm(weights), require_timm(weights)
        path = official_file(weights, known)
        if path.endswith(".safetensors"):
            state_dict: Any = read_safetensors(path)
        else:
            state_dict = read_torch(path, trust=AGAIN)
        try:
            overlay = {"state_dict": state_dict}
            model = timm.create_model(name, True, pretrained_cfg_overlay=overlay, num_classes=0)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"timm cannot read the weights '{weights}': {error}.") from error
        buffer = io.BytesIO()
        torch.save({"model": model.state_dict()}, buffer)
        return buffer.getvalue()


def official_file(weights: str, known: Any) -> str:
    """Find a file in the cache of huggingface_hub, or else download it.

    Args:
        weights: their name, for messages.
        known: what timm knows of them.

    Raises:
        OSError: without network.
        ValueError: see :func:`scnet.checkpoint.hashes.verify_as_kept`.
    """
    repository, _, revision = known.hf_hub_id.partition("@")
    names = [known.hf_hub_filename] if known.hf_hub_filename else FILES
    missing: List[OSError] = []
    for name in names:
        try:
            path = download(repository, name, revision or None)
            break
        except OSError as error:  # there is no such file, or no network
            missing.append(error)
    else:
        reason = " ".join(str(missing[0]).split())
        raise OSError(
            f"Cannot fetch '{weights}' from {repository} on Hugging Face: {reason} Connect to the "
            "network once: the file is kept in the cache of huggingface_hub."
        ) from missing[0]
    verify_as_kept(path)
    return path
