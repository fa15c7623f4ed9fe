"""Write a model as TorchScript or ONNX.

Both are traced: the graph is recorded while an image runs through the model. docs/export.md says
why neither ``torch.export`` nor PyTorch's exporter to ONNX that is built on it can record it.
"""

import io
import json
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict

import torch

from ..modeling.meta_arch import SCNet
from ..whole_files import naming, place_beside, remove_if_there, write_whole
from .checksum import with_checksum
from .own_files import remember
from .tracing import names_of_outputs, tracing_adapter

METADATA = "metadata"  # its key in ONNX; in TorchScript with the ending .json
OPSET = 16  # of ONNX: the first with the RoIAlign of Detectron2


def write_torchscript(model: SCNet, path: str, metadata: Dict) -> None:
    """Write a model as TorchScript.

    Args:
        model: on the CPU; it is put into evaluation mode.
        path: of the file; one that exists is replaced.
        metadata: what goes with the model, as json.

    Raises:
        ValueError: see :func:`scnet.export.tracing.tracing_adapter`.
        OSError: the file cannot be written; the message names it.
    """
    adapter = tracing_adapter(model)
    with quiet_tracing():
        traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    content = json.dumps({**metadata, "outputs": names_of_outputs(model)})
    # In memory, because PyTorch's writer of files ends the process where the disk is full.
    write_whole(path, traced.save_to_buffer(_extra_files={METADATA + ".json": content}))
    remember(path)


def write_onnx(model: SCNet, path: str, metadata: Dict) -> None:
    """Write a model as ONNX; arguments and errors as of :func:`write_torchscript`."""
    adapter, outputs = tracing_adapter(model), names_of_outputs(model)
    size = {1: "height", 2: "width"}
    axes = {name: {0: "detections"} for name in outputs}
    axes.update({name: axis | size for name, axis in axes.items() if name == "masks"})
    with naming(path):
        graph = place_beside(path)
        try:
            with quiet_tracing():
                torch.onnx.export(
                    adapter,
                    adapter.flattened_inputs,
                    graph,
                    dynamo=False,
                    opset_version=OPSET,
                    input_names=["image"],
                    output_names=outputs,
                    dynamic_axes={"image": size, **axes},
                )
            content = with_metadata(Path(graph).read_bytes(), {**metadata, "outputs": outputs})
        finally:
            remove_if_there(graph)
    write_whole(path, content)


def with_metadata(model: bytes, metadata: Dict) -> bytes:
    """Get an ONNX file of a model that has no metadata, with metadata and a checksum."""
    import onnx

    text = json.dumps(with_checksum(metadata, io.BytesIO(model), len(model)))
    entry = onnx.StringStringEntryProto(key=METADATA, value=text)
    return model + onnx.ModelProto(metadata_props=[entry]).SerializeToString()


# By the name of the format, which is the ending of the file, too, but for TorchScript's .ts.
WRITERS: Dict[str, Callable[[SCNet, str, Dict], None]] = {
    "torchscript": write_torchscript,
    "onnx": write_onnx,
}


@contextmanager
def quiet_tracing():
    """Without gradients, and without the warnings of the tracer.

    It warns of every branch and constant that Python decides on. They depend on the config, not
    on the image; that this is so is verified by running the file on other images.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
