"""Models for programs that have neither Detectron2 nor this package.

``write_torchscript`` and ``write_onnx`` make a file of a model, ``load_exported`` runs such
files, and ``compare`` says how far two predictions are apart.
"""

from .files import WRITERS, write_onnx, write_torchscript
from .runtime import ExportedModel, load_exported
from .verification import Deviation, compare
