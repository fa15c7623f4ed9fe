"""Run models that `scnet export` has written.

Shapes: H, W the size of an image as it enters the model, R detections, M the side of the masks
of boxes.
"""

import io
import json
import logging
import os
import warnings
import zipfile
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..checkpoint.reading import check_sums
from ..exported_formats import ENDINGS
from .checksum import KEYS, check
from .own_files import is_own

logger = logging.getLogger(__name__)

METADATA = "metadata"
# Of ONNX Runtime, the first that is there. TensorRT, which it would prefer, may build an engine for
# each size of image, which takes minutes.
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
AGAIN = "Copy it again from where it came, or export the model again (scnet export)."


class ExportedModel:
    """A model from a file, used like the one that the file was made of.

    Attributes:
        metadata: "class_names"; "channels" and "dtype", INPUT.CHANNELS and INPUT.DTYPE, 3 and
            "uint8" where they are missing; "input_format", the order of three channels, "RGB" or
            "BGR"; "min_size_test" and "max_size_test", to which images are resized
            (INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST); "max_pixels", INPUT.MAX_PIXELS;
            "outputs", names of the outputs.
    """

    def __init__(self, run: Callable[[Tensor, List[str]], List[Tensor]], metadata: Dict):
        """
        Args:
            run: from an image (C, H, W) and names of outputs to these outputs.
            metadata: see above.
        """
        self.run = run
        self.metadata = metadata

    def __call__(
        self, images: List[Tensor], sizes: Optional[Sequence[Tuple[int, int]]] = None
    ) -> List[Instances]:
        """Find the objects in images.

        Args:
            images: (C, H, W) each, of any type, with the values that files have, 0 to 255 if
                "dtype" is "uint8"; three channels in the order of ``input_format``.
            sizes: per image, height and width of the original, if the image was resized.

        Returns:
            per image, Instances with ``pred_boxes``, ``scores``, ``pred_classes`` and, if the
            model predicts masks, ``pred_masks`` (R, height, width) bool, as they are at the size
            of the original.
        """
        sizes = sizes or [(image.shape[-2], image.shape[-1]) for image in images]
        return [self._predict(image, size) for image, size in zip(images, sizes, strict=True)]

    def _predict(self, image: Tensor, size: Tuple[int, int]) -> Instances:
        # The masks of boxes are pasted here, as then they can be at the size of the original.
        return detector_postprocess(self.detect(image), *size)

    def detect(self, image: Tensor) -> Instances:
        """Find the objects in an image (C, H, W), with masks that are not pasted.

        Returns:
            as :meth:`__call__`, but ``pred_masks`` (R, 1, M, M) are probabilities within the boxes.
        """
        names = [name for name in self.metadata["outputs"] if name != "masks"]
        found = dict(zip(names, self.run(image.float(), names)))
        instances = Instances(tuple(image.shape[-2:]))
        instances.pred_boxes = Boxes(found["boxes"])
        instances.scores = found["scores"]
        instances.pred_classes = found["labels"]
        if "mask_probabilities" in found:
            instances.pred_masks = found["mask_probabilities"][:, None]
        return instances


def load_exported(path: str, trusted: bool = False) -> ExportedModel:
    """Load a file of `scnet export`.

    Args:
        path: a file that ends in .ts (TorchScript) or .onnx.
        trusted: also load TorchScript that this user has not exported on this machine. It is a
            program, which can write files, for one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has another ending, is empty, cannot be read, needs ``trusted``, or is not
            from `scnet export`.
        ImportError: ONNX Runtime is not installed.
    """
    path = str(path)
    loader = LOADERS.get(Path(path).suffix.lower())
    if loader is None:
        raise ValueError(f"'{path}' is no exported model: it ends in none of {list(LOADERS)}.")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"The exported model '{path}' does not exist.")
    if not os.path.getsize(path):
        raise ValueError(f"'{path}' is empty. {AGAIN}")
    run, metadata = loader(path, trusted)
    if not metadata:
        raise ValueError(
            f"'{path}' has no metadata: it is not from scnet export, so nobody knows what its "
            "outputs mean."
        )
    return ExportedModel(run, metadata)


def _load_torchscript(path: str, trusted: bool):
    files = {METADATA + ".json": ""}
    content = Path(path).read_bytes()
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise ValueError("it is no zip file")
        check_sums(io.BytesIO(content))
    except Exception as error:  # of any kind, for a damaged file
        raise ValueError(f"'{path}' cannot be read as TorchScript: {error}. {AGAIN}") from error
    if not trusted and not is_own(content):
        raise ValueError(
            f"'{path}' is a program (TorchScript) that was not exported by this user on this "
            "machine. It can do what you can do, such as write files. Use the model as ONNX, or "
            "export it here. If you trust where the file comes from, add --opts "
            "MODEL.TRUST_WEIGHTS True, or trusted=True in Python."
        )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.load` is", FutureWarning)  # deprecated
            # What was checked is what is used: the content, and not the file once more.
            model = torch.jit.load(io.BytesIO(content), map_location="cpu", _extra_files=files)
        metadata = json.loads(files[METADATA + ".json"] or "{}")
    except Exception as error:  # of any kind, for a damaged file
        raise ValueError(f"'{path}' cannot be read as TorchScript: {error}. {AGAIN}") from error
    outputs = metadata.get("outputs", [])

    def run(image: Tensor, names: List[str]) -> List[Tensor]:
        with torch.no_grad():
            found = dict(zip(outputs, model(image)))
        return [found[name] for name in names]

    return run, metadata


def _load_onnx(path: str, trusted: bool):  # it is data, trusted or not
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "Models in ONNX are run by ONNX Runtime: pip install onnxruntime"
        ) from error
    there = onnxruntime.get_available_providers()
    try:
        session = onnxruntime.InferenceSession(path, providers=[x for x in PROVIDERS if x in there])
        logger.info(f"ONNX Runtime runs '{path}' with {', '.join(session.get_providers())}.")
        metadata = json.loads(session.get_modelmeta().custom_metadata_map.get(METADATA, "{}"))
        if KEYS & metadata.keys():
            metadata = check(metadata, path)
        elif metadata:
            logger.warning(f"'{path}' has no checksum: it is of an older version, or was changed.")
    except Exception as error:  # of any kind, for a damaged file
        raise ValueError(f"'{path}' cannot be read as ONNX: {error}. {AGAIN}") from error

    def run(image: Tensor, names: List[str]) -> List[Tensor]:
        found = session.run(names, {"image": image.cpu().numpy()})
        return [torch.from_numpy(output) for output in found]

    return run, metadata


LOADERS = {ENDINGS["torchscript"]: _load_torchscript, ENDINGS["onnx"]: _load_onnx}
