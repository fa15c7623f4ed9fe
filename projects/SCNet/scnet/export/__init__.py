"""Models for programs that have neither Detectron2 nor this package.

:class:`ExportableDetector` is the model as a function of tensors, ``write_torchscript`` and
``write_onnx`` make a file of it, :func:`compare` says how far two predictions are apart.
:func:`scnet.export.runtime.load_exported` runs such files.
"""

from .detector import ExportableDetector
from .files import WRITERS, write_onnx, write_torchscript
from .verification import Deviation, compare
