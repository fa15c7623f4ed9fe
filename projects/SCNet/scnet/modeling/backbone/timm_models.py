"""Any model of timm that has feature maps, with FPN: MODEL.TIMM."""

import logging
from difflib import get_close_matches
from math import log2
from typing import Any, Dict, Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ...image_kind import ImageKind
from .layer_order import freeze_stages
from .pixel_statistics import Pixels, of_timm, require_pixels
from .pyramid import build_fpn
from .require_timm import require_timm

logger = logging.getLogger(__name__)
STRIDES = (4, 8, 16, 32)


class TimmBackbone(Backbone):
    """A model of timm without its classifier; parameters have timm's names, below "model.".

    The maps are called as those of Detectron2's ResNet: "res2" has stride 4, "res5" stride 32.
    """

    def __init__(self, model: Any, indices: Sequence[int]):
        """
        Args:
            model: of timm; what is not needed for the maps is taken out.
            indices: of the maps, as timm counts them; () for the last one of each of ``STRIDES``.

        Raises:
            ValueError: the model has no such maps.
        """
        super().__init__()
        name = type(model).__name__
        if not hasattr(model, "forward_intermediates"):
            raise ValueError(f"timm's {name} (MODEL.TIMM.NAME) gives no feature maps.")
        if getattr(getattr(model, "patch_embed", None), "strict_img_size", False):
            raise ValueError(
                f"timm's {name} (MODEL.TIMM.NAME) takes images of one size only. Detectron2's own "
                "transformers take all: MODEL.BACKBONE.NAME build_swin_fpn_backbone, for one."
            )
        strides = [info["reduction"] for info in model.feature_info]
        if not indices and not set(STRIDES) <= set(strides):
            raise ValueError(
                f"timm's {name} (MODEL.TIMM.NAME) has maps of the strides {strides}, but a pyramid "
                f"needs {list(STRIDES)}."
            )
        last = {stride: index for index, stride in enumerate(strides)}
        self.indices = list(indices) or [last[stride] for stride in STRIDES]
        if not all(0 <= index < len(strides) for index in self.indices):
            raise ValueError(
                f"MODEL.TIMM.OUT_INDICES is {self.indices}, but the maps are 0 to "
                f"{len(strides) - 1}, of the strides {strides}."
            )
        chosen = [model.feature_info[index] for index in self.indices]
        self._out_features = [f"res{log2(info['reduction']):g}" for info in chosen]
        self._out_feature_strides = {
            name: info["reduction"] for name, info in zip(self._out_features, chosen)
        }
        self._out_feature_channels = {
            name: info["num_chs"] for name, info in zip(self._out_features, chosen)
        }
        model.prune_intermediate_layers(self.indices, prune_norm=True)
        self.model: Any = model

    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        """(N, channels, H, W) -> the maps, (N, C, H / stride, W / stride), by name."""
        maps = self.model.forward_intermediates(
            x, indices=self.indices, output_fmt="NCHW", intermediates_only=True
        )
        return dict(zip(self._out_features, maps))

    def layer_numbers(self, stages: bool) -> Dict[str, int]:
        """Number the layers as timm groups them; see ``layer_order.layer_numbers``."""
        from timm.models import group_parameters

        matcher = self.model.group_matcher(coarse=stages)
        numbers = group_parameters(self.model, matcher, reverse=True)
        return {f"model.{name}": number for name, number in numbers.items()}

    def freeze_batch_norm(self) -> None:
        """Let each batch norm be constant whose parameters do not train."""
        from timm.layers import freeze_batch_norm_2d

        for parent in list(self.modules()):
            for name, child in list(parent.named_children()):
                trains = any(parameter.requires_grad for parameter in child.parameters())
                if isinstance(child, _BatchNorm) and not trains:
                    setattr(parent, name, freeze_batch_norm_2d(child))

    def checkpoint_activations(self) -> None:
        """Let blocks keep their inputs only, and compute the rest again in the backward pass.

        Raises:
            ValueError: timm cannot do it for this model.
        """
        try:
            self.model.set_grad_checkpointing(True)
        except (AssertionError, AttributeError) as error:
            raise ValueError(
                f"timm cannot compute the blocks of {type(self.model).__name__} again. Take "
                "'backbone' out of MODEL.SCNET.ACTIVATION_CHECKPOINTING."
            ) from error


def create_model(cfg: CfgNode, channels: int = 3) -> Any:
    """Let timm make the model of MODEL.TIMM.NAME, with its pretrained weights if they are needed.

    They are if MODEL.TIMM.PRETRAINED is True and MODEL.WEIGHTS is empty: other weights would
    replace them. For other channels than three timm adapts them, by the rule of
    :mod:`scnet.checkpoint.stem`.

    Args:
        channels: of the images.

    Raises:
        ValueError: there is no such model or no weights of it, or they know other images.
        OSError: the weights cannot be fetched.
    """
    timm = require_timm("'build_timm_fpn_backbone' (MODEL.BACKBONE.NAME)")
    name, pretrained = cfg.MODEL.TIMM.NAME, cfg.MODEL.TIMM.PRETRAINED
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), 3)
        raise ValueError(
            f"MODEL.TIMM.NAME is '{name}', which timm {timm.__version__} does not have. "
            + (f"The nearest are {', '.join(near)}. " if near else "")
            + "timm.list_models() lists all."
        )
    load = pretrained and not cfg.MODEL.WEIGHTS
    options = {"drop_path_rate": cfg.MODEL.TIMM.DROP_PATH} if cfg.MODEL.TIMM.DROP_PATH else {}
    weights = f"timm's weights of '{name}' (MODEL.TIMM.PRETRAINED)"
    try:
        model = timm.create_model(
            name, pretrained=load, num_classes=0, in_chans=channels, **options
        )
    except OSError as error:
        raise OSError(
            f"Cannot fetch {weights}: {error}. Connect to the network once, or set MODEL.TIMM."
            "PRETRAINED False, or MODEL.WEIGHTS to a file."
        ) from error
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"timm cannot make '{name}' (MODEL.TIMM): {error}.") from error
    if pretrained:
        known = model.pretrained_cfg
        known_pixels, name = of_timm(known["mean"], known["std"]), weights[:1].upper() + weights[1:]
        require_pixels(name, known_pixels, Pixels.of(cfg), ImageKind.of(cfg))
    if load:
        source = known.get("file") or known.get("hf_hub_id") or known.get("url")
        logger.info(f"The backbone begins with {weights}, from {source}.")
    return model


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build a model of timm, whose maps are "res2" to "res5", and FPN upon it.

    Raises:
        ValueError: timm is missing, or a key of MODEL.TIMM cannot be honoured; or see
            :func:`build_fpn` and :func:`freeze_stages`.
        OSError: the weights cannot be fetched.
    """
    norm = cfg.MODEL.TIMM.NORM
    if norm not in ("", "FrozenBN"):
        raise ValueError(
            f"MODEL.TIMM.NORM is '{norm}'. It may be '', for the norm that the model has, or "
            "'FrozenBN' for batch norm that is constant."
        )
    bottom_up = TimmBackbone(create_model(cfg, input_shape.channels), cfg.MODEL.TIMM.OUT_INDICES)
    freeze_stages(bottom_up, cfg.MODEL.BACKBONE.FREEZE_AT)
    if norm == "FrozenBN":
        norms = [m for m in bottom_up.modules() if isinstance(m, _BatchNorm)]
        if not norms:
            raise ValueError(
                f"MODEL.TIMM.NORM is 'FrozenBN', but '{cfg.MODEL.TIMM.NAME}' has no batch norm. "
                "Set it to ''."
            )
        for module in norms:
            module.requires_grad_(False)
    bottom_up.freeze_batch_norm()
    return build_fpn(cfg, bottom_up)
