"""The semantic branch: a segmentation of the whole image, and an embedding of it for the RoIs.

Shapes: N images, C channels, K semantic classes, (H, W) the size of the level that has the
head's stride (the padded image divided by 8).
"""

from typing import Dict, List, Tuple

import fvcore.nn.weight_init as weight_init
import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import conv, plain_convs, residual_blocks
from .process_mean import Losses


class SemanticHead(nn.Module):
    """What a semantic head has besides its layers: the loss, and the map at the image's size.

    To write another head, inherit from this class, write ``__init__``, ``from_config`` and
    ``forward``, register it with SEM_SEG_HEADS_REGISTRY and name it in MODEL.SEM_SEG_HEAD.NAME.
    """

    def __init__(self, *, num_classes: int, stride: int, loss_weight: float, ignore_value: int):
        """
        Args:
            num_classes: K, stuff and things together.
            stride: of the logits and of the embedding, in pixels.
            loss_weight: gamma of Eq. 3.
            ignore_value: pixels of the target with this value do not count.
        """
        super().__init__()
        self.num_classes = num_classes
        self.stride = stride
        self.loss_weight = loss_weight
        self.ignore_value = ignore_value

    def forward(self, features: Dict[str, Tensor]) -> Tuple[Tensor, Tensor]:
        """The semantic map, and the embedding that the RoIs take their context from.

        Args:
            features: the levels of the pyramid, by name.

        Returns:
            logits (N, K, H, W), and the embedding (N, C, H, W) with as many channels as the
            levels have.
        """
        raise NotImplementedError

    def targets(self, batched_inputs: List[Dict], logits: Tensor) -> Tensor:
        """The semantic maps at the stride of the head, padded with the value to ignore.

        Args:
            batched_inputs: with "sem_seg" at the size of the image, or at that of every pixel at
                multiples of the stride, as SCNetDatasetMapper makes it.
            logits: (N, K, H, W) of these images.

        Returns:
            int64 (N, H, W)

        Raises:
            KeyError: an image has no semantic map.
            ValueError: a semantic map has another size.
        """
        height, width = logits.shape[-2:]
        targets = []
        for x in batched_inputs:
            name = x.get("file_name", "An image")
            if "sem_seg" not in x:
                raise KeyError(
                    f"{name} has no semantic map ('sem_seg'), but the "
                    "semantic branch is on. Train with SCNetDatasetMapper, which makes one, or set "
                    "MODEL.SCNET.SEMANTIC.SOURCE 'none'."
                )
            sem_seg, size = x["sem_seg"], x["image"].shape[-2:]
            small = tuple(-(-side // self.stride) for side in size)
            if sem_seg.shape == size:
                sem_seg = sem_seg[:: self.stride, :: self.stride]
            elif sem_seg.shape != small:
                raise ValueError(
                    f"{name} has a semantic map ('sem_seg') of height and width "
                    f"{tuple(sem_seg.shape)}, but the image has {tuple(size)}. It must have the "
                    f"same, or {small}: every pixel at multiples of {self.stride} "
                    "(MODEL.SEM_SEG_HEAD.COMMON_STRIDE)."
                )
            padding = (0, width - sem_seg.shape[1], 0, height - sem_seg.shape[0])
            sem_seg = sem_seg.to(logits.device)
            targets.append(F.pad(sem_seg, padding, value=self.ignore_value))
        return torch.stack(targets).long()

    def losses(self, logits: Tensor, targets: Tensor) -> Losses:
        """Cross entropy, averaged over the pixels that carry a label.

        Args:
            logits: (N, K, H, W).
            targets: (N, H, W), the class indices of the pixels at multiples of the stride.

        Returns:
            ``loss_sem_seg``; zero, with zero gradients, if no pixel is labelled.
        """
        total = F.cross_entropy(
            logits.float(), targets, ignore_index=self.ignore_value, reduction="sum"
        )
        num_labelled = (targets != self.ignore_value).sum()
        losses = Losses()
        mean = self.loss_weight * total / num_labelled.clamp(min=1)
        losses.add("loss_sem_seg", mean, num_labelled)
        return losses

    def upsample(self, logits: Tensor) -> Tensor:
        """Logits at the size of the padded image.

        Training compares the cell (i, j) with the pixel (stride * i, stride * j), so it has its
        value there; between the cells it is interpolated, and after the last one repeated.

        Args:
            logits: (N, K, H, W).

        Returns:
            (N, K, H * stride, W * stride)
        """
        height, width = ((side - 1) * self.stride + 1 for side in logits.shape[-2:])
        maps = F.interpolate(logits, (height, width), mode="bilinear", align_corners=True)
        return F.pad(maps, (0, self.stride - 1, 0, self.stride - 1), mode="replicate")


@SEM_SEG_HEADS_REGISTRY.register()
class SCNetSemanticHead(SemanticHead):
    """Fuses all levels of the feature pyramid and predicts semantic classes.

    It is the semantic branch of Hybrid Task Cascade, which the paper uses in all its cascades
    (Sec. 5.2). In SCNet it has residual blocks in place of plain convolutions, as in the authors'
    code.
    """

    @configurable
    def __init__(
        self,
        input_shape: Dict[str, ShapeSpec],
        *,
        num_classes: int,
        channels: int,
        num_conv: int,
        residual: bool,
        stride: int,
        loss_weight: float,
        ignore_value: int,
        norm: str = "",
    ):
        """
        Args:
            input_shape: the levels to fuse, by name.
            channels: C of the layers and of the embedding, the same as of the levels.
            num_conv: 3x3 convolutions after the fusion.
            residual: with a skip connection over every two of them.
            stride: at which the levels are fused; one of them must have it.
            norm: normalisation of all layers but the predictor, for example "GN"; "" for none.
            num_classes, loss_weight, ignore_value: see :class:`SemanticHead`.

        Raises:
            ValueError: no level has the stride; the levels have other channels; or ``num_conv`` is
                odd with ``residual``.
        """
        super().__init__(
            num_classes=num_classes,
            stride=stride,
            loss_weight=loss_weight,
            ignore_value=ignore_value,
        )
        self.in_features = list(input_shape)
        strides = {name: shape.stride for name, shape in input_shape.items()}
        if stride not in strides.values():
            raise ValueError(
                f"stride (MODEL.SEM_SEG_HEAD.COMMON_STRIDE) is {stride}, but the strides of the "
                f"levels to fuse (MODEL.SEM_SEG_HEAD.IN_FEATURES) are {strides}."
            )
        widths = {name: shape.channels for name, shape in input_shape.items()}
        if set(widths.values()) != {channels}:
            raise ValueError(
                f"channels (MODEL.SEM_SEG_HEAD.CONVS_DIM) is {channels}, but the levels to fuse "
                f"have {widths}. The embedding is added to their features, so the numbers must "
                "be equal."
            )
        if residual and num_conv % 2:
            raise ValueError(
                f"num_conv (MODEL.SCNET.SEMANTIC.NUM_CONV) is {num_conv}, but a skip connection "
                "spans two convolutions. Make it even, or set residual "
                "(MODEL.SCNET.SEMANTIC.RESIDUAL) to False."
            )
        self.fusion_level = next(name for name, s in strides.items() if s == stride)
        self.lateral_convs = nn.ModuleDict(
            {name: conv(channels, channels, 1, norm, F.relu) for name in input_shape}
        )
        if residual:
            self.blocks = residual_blocks(channels, channels, num_conv // 2, norm)
        else:
            self.blocks = plain_convs(channels, num_conv, norm)
        self.predictor = conv(channels, num_classes, 1)
        self.embedding = conv(channels, channels, 1, norm, F.relu)
        for layer in [*self.lateral_convs.values(), self.embedding]:
            weight_init.c2_msra_fill(layer)
        # The authors scale the predictor's initial weights with 1 / sqrt(K), too. Fitting for
        # COCO's 183 classes, it lets training from two or three classes start with logits so
        # large that it diverges.
        nn.init.normal_(self.predictor.weight, std=0.01)

    @classmethod
    def from_config(cls, cfg, input_shape: Dict[str, ShapeSpec]):
        names = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES
        unknown = [name for name in names if name not in input_shape]
        if unknown:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.IN_FEATURES has {unknown}. The levels are "
                f"{', '.join(input_shape)}."
            )
        return {
            "input_shape": {name: input_shape[name] for name in names},
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "channels": cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM,
            "num_conv": cfg.MODEL.SCNET.SEMANTIC.NUM_CONV,
            "residual": cfg.MODEL.SCNET.SEMANTIC.RESIDUAL,
            "stride": cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE,
            "loss_weight": cfg.MODEL.SEM_SEG_HEAD.LOSS_WEIGHT,
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "norm": cfg.MODEL.SEM_SEG_HEAD.NORM,
        }

    def forward(self, features: Dict[str, Tensor]) -> Tuple[Tensor, Tensor]:
        """See :meth:`SemanticHead.forward`."""
        size = features[self.fusion_level].shape[-2:]
        # Every level is resized before its 1x1 convolution: after it would be cheaper, but the
        # ReLU in between makes the two differ.
        fused = sum(
            self.lateral_convs[name](
                F.interpolate(features[name], size=size, mode="bilinear", align_corners=True)
            )
            for name in self.in_features
        )
        x = self.blocks(fused)
        return self.predictor(x), self.embedding(x)
