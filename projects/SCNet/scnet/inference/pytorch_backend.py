"""The backend of the predictor for weights of PyTorch and their config."""

from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Instances

from ..checkpoint import config_file_beside, load_model
from ..config import read_cfg
from ..data import class_names
from ..data.config_from_data import semantic_classes
from ..data.image import in_order
from ..data.own_data import register_datasets
from ..image_kind import ImageKind
from ..modeling.context_pooler import GLOBAL_CONTEXT, SEMANTIC
from ..modeling.meta_arch import SCNet
from ..modeling.test_time_augmentation import SCNetWithTTA
from ..resizing import transform_image
from .context import Context
from .mask_formats import resize
from .optimize import optimize_as_configured

Config = Union[None, str, Path, CfgNode]


class PyTorchBackend:
    """Runs a model of this package; see :class:`scnet.inference.backends.Backend`."""

    def __init__(
        self,
        weights: str,
        config: Config = None,
        threshold: float = 0.0,
        trusted: bool = False,
        device: Optional[str] = None,
    ):
        """Build the model of a config and load its weights.

        Args:
            weights: as MODEL.WEIGHTS.
            config: of the model, or its file; by default "config.yaml" beside the weights. With
                TEST.AUG.ENABLED images are augmented at test time.
            threshold: detections of a lower score are left out early, so they cost no mask.
            trusted: as MODEL.TRUST_WEIGHTS True.
            device: as MODEL.DEVICE, which no file has: by default a GPU if there is one.

        Raises:
            ValueError: there is no config, or the weights do not fit it; there is no such device;
                or see :func:`names_of_classes`.
            FileNotFoundError: there are no such weights, or there is no such config.
            OSError: they cannot be fetched.
        """
        cfg = config_file_beside(weights) if config is None else config
        cfg = cfg.clone() if isinstance(cfg, CfgNode) else read_cfg(cfg)
        cfg.defrost()
        cfg.MODEL.TRUST_WEIGHTS = cfg.MODEL.TRUST_WEIGHTS or trusted
        if device is not None:
            cfg.MODEL.DEVICE = str(device)
        register_datasets(cfg, must_exist=False)  # they may name the classes
        heads = cfg.MODEL.ROI_HEADS
        heads.SCORE_THRESH_TEST = max(heads.SCORE_THRESH_TEST, threshold)
        model = load_model(cfg, weights)
        self.device = model.device
        self.names = names_of_classes(model, cfg)
        model = optimize_as_configured(model, cfg)
        self.divisor = max(model.backbone.size_divisibility, 1)
        self.input_format = cfg.INPUT.FORMAT
        self.max_pixels = cfg.INPUT.MAX_PIXELS
        self.kind = ImageKind.of(cfg)
        augmented = cfg.TEST.AUG.ENABLED  # by the model, from the image as it is
        size = 0 if augmented else cfg.INPUT.MIN_SIZE_TEST
        self.resize = ResizeShortestEdge(size, cfg.INPUT.MAX_SIZE_TEST)
        self.model = SCNetWithTTA(cfg, model) if augmented else model
        # The versions of an augmented image have no context in common.
        plain = model if isinstance(self.model, SCNet) else None
        self.semantic_names = names_of_semantic_classes(plain, cfg) if plain else []
        self.has_image_scores = plain is not None and plain.image_scores_output

    def __call__(self, images: List[np.ndarray]) -> List[Instances]:
        """Find the objects; see :class:`scnet.inference.backends.Backend`.

        Only images that are padded to the same size share a batch. Beside a larger one an image
        would be padded more than alone, and the global context is an average over the padding,
        too.

        Raises:
            ValueError: an image is too narrow to be resized.
        """
        inputs = [self._prepare(x) for x in images]
        groups: Dict[Tuple[int, int], List[int]] = defaultdict(list)
        for k, x in enumerate(inputs):
            height, width = (-(-side // self.divisor) for side in x["image"].shape[1:])
            groups[height, width].append(k)
        results: Dict[int, Instances] = {}
        with torch.no_grad():
            for members in groups.values():
                outputs = self._detect([inputs[k] for k in members])
                for k, output in zip(members, outputs):
                    results[k] = resize(output, inputs[k]["height"], inputs[k]["width"])
        return [results[k] for k in range(len(inputs))]

    def with_context(self, image: np.ndarray) -> Tuple[Instances, Context]:
        """Find the objects in one image, with what the model says about it as a whole.

        Args:
            image: (H, W, C), as for :meth:`__call__`, with its error and its Instances.
        """
        model = self.model
        if not isinstance(model, SCNet):
            return self([image])[0], Context()
        x = self._prepare(image)
        with torch.no_grad():
            [found], logits, [(height, width)] = model.detect([x])
            sem_seg = scores = None
            if model.semantic_head is not None and model.semantic_output:
                maps = model.semantic_head.upsample(logits[SEMANTIC].float())
                sem_seg = maps[0, :, :height, :width].argmax(0).cpu().numpy()
            if model.image_scores_output:
                scores = logits[GLOBAL_CONTEXT][0].float().sigmoid().cpu().numpy()
        return resize(found, x["height"], x["width"]), Context(sem_seg, scores)

    def _detect(self, inputs: List[Dict]) -> List[Instances]:
        """Find the objects in inputs of one padded size; the masks are not pasted."""
        if isinstance(self.model, SCNetWithTTA):
            return [self.model.detect(x) for x in inputs]
        return self.model.inference(inputs, do_postprocess=False)

    def _prepare(self, pixels: np.ndarray) -> Dict:
        """Make the model's input from an image (H, W, C)."""
        height, width = pixels.shape[:2]
        pixels = in_order(pixels, self.input_format, given="BGR")
        pixels = transform_image([self.resize.get_transform(pixels)], pixels)
        image = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {"image": image, "height": height, "width": width}


def names_of_classes(model: GeneralizedRCNN, cfg: CfgNode) -> List[str]:
    """Get the class names that came with the weights, or else those of the first test data set.

    Args:
        model: with its weights.
        cfg: of the model; DATASETS.TEST names the data sets.

    Raises:
        ValueError: see :func:`scnet.data.class_names`.
    """
    return model.metadata.get("thing_classes") or class_names(cfg)


def names_of_semantic_classes(model: SCNet, cfg: CfgNode) -> List[str]:
    """Get the names of the semantic classes as :func:`names_of_classes` does.

    Returns:
        the names; where they are not known, "semantic class 1" and so on; none, if the model does
        not put out a map.
    """
    head = model.semantic_head
    if head is None or not model.semantic_output:
        return []
    names = model.metadata.get("stuff_classes", [])
    if not names and cfg.DATASETS.TRAIN:
        names = semantic_classes(cfg, names_of_classes(model, cfg))
    if len(names) == head.num_classes:
        return names
    return [f"semantic class {k + 1}" for k in range(head.num_classes)]
