"""Names of modules in the reference implementation (OpenMMLab's mmdet) and in this package.

Every layer has the same weights in the same layout there and here.
"""

from typing import Iterator, Tuple

from .resnet import resnet_modules

NUM_STAGES = 3
NUM_LEVELS = 5  # P2 to P6
MAX_RESIDUAL_BLOCKS = 6  # of one head: the mask head has the most
NUM_CONV = 4  # of the plain heads

MASK_HEAD = "roi_head.mask_head"  # there
MASK_BRANCH = "roi_heads.mask_branch"  # here


def module_names(family: str) -> Iterator[Tuple[str, str]]:
    """List the modules of a family that have parameters, as (reference's name, our name).

    Modules that only some models of the family have are among them.

    Args:
        family: a key of :data:`scnet.checkpoint.mmdet_architecture.FAMILIES`.
    """
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
    """List the convolutions of residual blocks, as :func:`module_names`."""
    for block in range(MAX_RESIDUAL_BLOCKS):
        for conv in (1, 2):
            yield f"{theirs}.{block}.conv{conv}", f"{ours}.{block}.conv{conv}"
