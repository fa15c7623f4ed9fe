"""The formats that models are exported in, which the endings of the files tell."""

import os

ENDINGS = {"onnx": ".onnx", "torchscript": ".ts"}  # by format


def is_exported(path: str) -> bool:
    """Whether a file is an exported model, by its name."""
    return os.path.splitext(path)[1].lower() in ENDINGS.values()
