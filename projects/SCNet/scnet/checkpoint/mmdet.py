"""Weights of the reference implementation (OpenMMLab's mmdet), converted in both directions.

SCNet, Hybrid Task Cascade and Cascade Mask R-CNN. Every layer has the same weights in the same
layout there and here, so a conversion is a renaming. The names are a table of modules, read in
either direction.
"""

import functools
from typing import Dict, Iterable, Iterator, List, Optional, Tuple, TypeGuard

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from ..config import get_config_file, read_cfg
from ..modeling import class_metadata
from .reading import read_torch
from .resnet import resnet_modules

TRUST = "If you trust where it comes from, add --allow-pickle."

NUM_STAGES = 3
NUM_LEVELS = 5  # P2 to P6
MAX_RESIDUAL_BLOCKS = 6  # of one head: the mask head has the most
NUM_CONV = 4  # of the plain heads

MASK_HEAD = "roi_head.mask_head"  # there
MASK_BRANCH = "roi_heads.mask_branch"  # here

# What only one family's weights have, there and here, and how its configs are called. The first
# that fits is taken.
FAMILIES = {
    "scnet": (f"{MASK_HEAD}.convs.", f"{MASK_BRANCH}.heads.0.blocks."),
    "htc": (f"{MASK_HEAD}.1.conv_res.", f"{MASK_BRANCH}.heads.1.fusion."),
    "cascade_mask_rcnn_sem": (f"{MASK_HEAD}.1.", f"{MASK_BRANCH}.heads.1."),
}

# Entries of a reference checkpoint that hold no weights of the network: the copies of the
# moving-average hook, which swaps the averages into the network's own names when it saves.
IGNORED_PREFIXES = ("ema_",)

# (blocks of ResNet's third stage, groups of its 3x3 convolutions) -> how configs call it
BACKBONES = {(6, 1): "R_50", (23, 1): "R_101", (23, 64): "X_101_64x4d"}


def _modules(family: str) -> Iterator[Tuple[str, str]]:
    """All modules of a family that have parameters, as (reference's name, our name)."""
    for theirs, ours in resnet_modules():
        yield f"backbone.{theirs}", f"backbone.bottom_up.{ours}"
    for level in range(NUM_LEVELS - 1):
        yield f"neck.lateral_convs.{level}.conv", f"backbone.fpn_lateral{level + 2}"
        yield f"neck.fpn_convs.{level}.conv", f"backbone.fpn_output{level + 2}"

    rpn = "proposal_generator.rpn_head"
    yield "rpn_head.rpn_conv", f"{rpn}.conv"
    yield "rpn_head.rpn_cls", f"{rpn}.objectness_logits"
    yield "rpn_head.rpn_reg", f"{rpn}.anchor_deltas"

    for stage in range(NUM_STAGES):
        theirs = f"roi_head.bbox_head.{stage}"
        yield f"{theirs}.shared_fcs.0", f"roi_heads.box_head.{stage}.fc1"
        yield f"{theirs}.shared_fcs.1", f"roi_heads.box_head.{stage}.fc2"
        yield f"{theirs}.fc_cls", f"roi_heads.box_predictor.{stage}.cls_score"
        yield f"{theirs}.fc_reg", f"roi_heads.box_predictor.{stage}.bbox_pred"

    if family == "scnet":
        yield from _residual_blocks(f"{MASK_HEAD}.convs", f"{MASK_BRANCH}.heads.0.blocks")
        yield "roi_head.feat_relay_head.fc", f"{MASK_BRANCH}.relays.0.fc"
        mask_heads = [(MASK_HEAD, f"{MASK_BRANCH}.heads.0")]
    else:
        mask_heads = [(f"{MASK_HEAD}.{k}", f"{MASK_BRANCH}.heads.{k}") for k in range(NUM_STAGES)]
    for theirs, ours in mask_heads:
        for conv in range(NUM_CONV):
            yield f"{theirs}.convs.{conv}.conv", f"{ours}.mask_fcn{conv + 1}"
        yield f"{theirs}.conv_res.conv", f"{ours}.fusion"
        yield f"{theirs}.upsample", f"{ours}.deconv"
        yield f"{theirs}.conv_logits", f"{ours}.predictor"

    semantic = "roi_head.semantic_head"
    for level in range(NUM_LEVELS):
        theirs = f"{semantic}.lateral_convs.{level}.conv"
        yield theirs, f"semantic_head.lateral_convs.p{level + 2}"
    yield from _residual_blocks(f"{semantic}.convs", "semantic_head.blocks")
    for conv in range(NUM_CONV):
        yield f"{semantic}.convs.{conv}.conv", f"semantic_head.blocks.{conv}"
    yield f"{semantic}.conv_logits", "semantic_head.predictor"
    yield f"{semantic}.conv_embedding.conv", "semantic_head.embedding"

    yield from _residual_blocks("roi_head.glbctx_head.convs", "global_context_head.blocks")
    yield "roi_head.glbctx_head.fc", "global_context_head.classifier"


def _residual_blocks(theirs: str, ours: str) -> Iterator[Tuple[str, str]]:
    for block in range(MAX_RESIDUAL_BLOCKS):
        for conv in (1, 2):
            yield f"{theirs}.{block}.conv{conv}", f"{ours}.{block}.conv{conv}"


def convert_mmdet_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Parameters and buffers of a reference model under the names of ours.

    The architecture and the numbers of classes are found from the weights. The conversion is
    strict: nothing of the source is left over but what :data:`IGNORED_PREFIXES` names, and
    nothing of our model is left unfilled but batch norm's counter of batches, which is not used
    and which older files lack.

    Args:
        state_dict: the reference's, for SCNet, HTC or Cascade Mask R-CNN, the latter two with or
            without semantic branch, with R-50, R-101 or X-101-64x4d.

    Raises:
        ValueError: tensors are missing, unknown or of another shape; the message names them.
    """
    state_dict = {k: v for k, v in state_dict.items() if not k.startswith(IGNORED_PREFIXES)}
    family = _family(state_dict, 0)
    table = dict(_modules(family))
    unknown = [key for key in state_dict if key.rpartition(".")[0] not in table]
    converted = {
        f"{table[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value
        for key, value in state_dict.items()
        if key not in unknown
    }
    names = {ours: theirs for theirs, ours in table.items()}
    expected = _expected_shapes(*_architecture(state_dict))
    problems = [f"'{key}' is no parameter of {family}" for key in unknown]
    for key in sorted(expected.keys() | converted.keys()):
        theirs = f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}"
        if key not in converted:
            if not key.endswith("num_batches_tracked"):
                problems.append(f"'{theirs}' (here '{key}') is missing")
        elif key not in expected:
            problems.append(f"'{theirs}' (here '{key}') has no place in this architecture")
        elif converted[key].shape != expected[key]:
            shape, wanted = tuple(converted[key].shape), tuple(expected[key])
            problems.append(f"'{theirs}' (here '{key}') has shape {shape}, not {wanted}")
    _raise_if(problems, f"These weights are not those of a reference {family}")
    return converted


def convert_mmdet_checkpoint(path: str, allow_pickle: bool = False) -> Dict[str, Dict]:
    """The content of a checkpoint of ours, from one of OpenMMLab's mmdet 2.x or 3.x.

    The names of the classes come with it, if the file has one for each class.

    Args:
        path: a file with a ``state_dict`` and what not, or with the state dict itself.
        allow_pickle: also read files that hold more than tensors and plain values. Such a file
            can run any code while it is read: only for files that you trust.

    Raises:
        ValueError: the file needs ``allow_pickle``, it is damaged or holds no weights, or they do
            not fit, see :func:`convert_mmdet_state_dict`.
    """
    content = read_torch(path, allow_pickle, TRUST)
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else None
    if not _are_weights(state_dict):
        raise ValueError(f"'{path}' holds no 'state_dict' of tensors.")
    state_dict = {key.removeprefix("module."): value for key, value in state_dict.items()}
    model = convert_mmdet_state_dict(state_dict)
    meta = content.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    names = meta.get("CLASSES") or meta.get("dataset_meta", {}).get("classes", ())
    _, num_classes, _ = _architecture(state_dict)
    if len(names) == num_classes:
        model[class_metadata.KEY] = class_metadata.encode({"thing_classes": names})
    return {"model": model}


def convert_to_mmdet_checkpoint(path: str, allow_pickle: bool = False) -> Dict[str, Dict]:
    """The inverse of :func:`convert_mmdet_checkpoint`.

    Args:
        path: a checkpoint of ours, a file with a ``model``.
        allow_pickle: see :func:`convert_mmdet_checkpoint`.

    Raises:
        ValueError: the file needs ``allow_pickle``, it is damaged or holds no model, or see
            :func:`convert_to_mmdet_state_dict`.
    """
    content = read_torch(path, allow_pickle, TRUST)
    model = content.get("model") if isinstance(content, dict) else None
    if not _are_weights(model):
        raise ValueError(
            f"'{path}' holds no 'model' of tensors, so it is no checkpoint of Detectron2. From "
            "OpenMMLab's to Detectron2's it goes without --reverse."
        )
    names = model.pop(class_metadata.KEY, None)
    meta = {} if names is None else {"CLASSES": class_metadata.decode(names).thing_classes}
    return {"state_dict": convert_to_mmdet_state_dict(model), "meta": meta}


def _are_weights(state_dict: object) -> TypeGuard[Dict[str, Tensor]]:
    """Whether it is a dict of tensors with something in it."""
    return (
        isinstance(state_dict, dict)
        and len(state_dict) > 0
        and all(isinstance(value, Tensor) for value in state_dict.values())
    )


def convert_to_mmdet_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The inverse of :func:`convert_mmdet_state_dict`.

    Naive sample consistency, which the reference lacks, has the weights of a Cascade Mask R-CNN
    and is taken for one.

    Raises:
        ValueError: a parameter has no counterpart in the reference; the message names it.
    """
    family = _family(state_dict, 1)
    table = {ours: theirs for theirs, ours in _modules(family)}
    unknown = [key for key in state_dict if key.rpartition(".")[0] not in table]
    _raise_if(
        [f"'{key}'" for key in unknown],
        f"The reference {family} has no place for these parameters",
    )
    return {
        f"{table[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value
        for key, value in state_dict.items()
    }


def _family(names: Iterable[str], side: int) -> str:
    """The key of :data:`FAMILIES` that weights belong to, by their names there (0) or here (1).

    Raises:
        ValueError: they have no mask heads of a known family.
    """
    for family, markers in FAMILIES.items():
        if any(name.startswith(markers[side]) for name in names):
            return family
    raise ValueError(
        f"These weights have none of the mask heads of {', '.join(FAMILIES)}: no name begins with "
        f"any of {', '.join(markers[side] for markers in FAMILIES.values())}."
    )


def find_cfg(state_dict: Dict[str, Tensor]) -> CfgNode:
    """The config of our model that a reference's weights belong to.

    Raises:
        ValueError: the weights are of no known architecture; the message says why.
    """
    return architecture_cfg(*_architecture(state_dict))


def _architecture(state_dict: Dict[str, Tensor]) -> Tuple[str, int, Optional[int]]:
    """The config of the weights, and their numbers of thing and semantic classes."""
    family = _family(state_dict, 0)
    keys = {
        "blocks": "backbone.layer3.0.conv2.weight",
        "things": "roi_head.bbox_head.0.fc_cls.weight",
    }
    if any(key.startswith("roi_head.semantic_head.") for key in state_dict):
        keys["semantic"] = "roi_head.semantic_head.conv_logits.weight"
    missing = [f"'{key}' is missing" for key in keys.values() if key not in state_dict]
    _raise_if(missing, f"These weights are not those of a reference {family}")
    blocks = len([k for k in state_dict if k.startswith("backbone.layer3.") and "conv2." in k])
    conv = state_dict[keys["blocks"]]
    groups = conv.shape[0] // conv.shape[1]
    if (blocks, groups) not in BACKBONES:
        raise ValueError(
            f"The backbone has {blocks} blocks in its third stage and {groups} groups. "
            f"Known are {BACKBONES}."
        )
    config = f"{family}_{BACKBONES[blocks, groups]}_FPN_20e_coco.yaml"
    things = state_dict[keys["things"]].shape[0] - 1
    semantic = state_dict[keys["semantic"]].shape[0] if "semantic" in keys else None
    return config, things, semantic


@functools.lru_cache
def _expected_shapes(config: str, things: int, semantic: Optional[int]) -> Dict[str, torch.Size]:
    """Name -> shape of all parameters and buffers of our model, built without memory."""
    cfg = architecture_cfg(config, things, semantic)
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    return {key: value.shape for key, value in model.state_dict().items()}


def architecture_cfg(config: str, things: int = 80, semantic: Optional[int] = 183) -> CfgNode:
    """A shipped config with other numbers of thing and semantic classes.

    Args:
        semantic: None for no semantic branch.
    """
    cfg = read_cfg(get_config_file(config))
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = things
    if semantic is None:
        cfg.MODEL.SCNET.SEMANTIC.SOURCE = "none"
    else:
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = semantic
    return cfg


def _raise_if(problems: List[str], headline: str) -> None:
    if problems:
        raise ValueError(f"{headline} ({len(problems)} problems): " + "; ".join(problems))
