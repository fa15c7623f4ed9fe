"""Names of the reference implementation (OpenMMLab's SCNet) and ours, in both directions.

Every layer has the same weights in the same layout in both, so a conversion is a renaming.
"""

from typing import Dict, Iterator, Tuple

from torch import Tensor

from .resnet import resnet_modules

# Our names -> the reference's, for whole modules; parameters keep the last part of their name.
NUM_STAGES = 3
MAX_RESIDUAL_BLOCKS = 6  # of one head: the mask head has the most
NUM_LEVELS = 5  # P2 to P6


def _modules() -> Iterator[Tuple[str, str]]:
    """All modules that have parameters, as (reference's name, our name)."""
    for theirs, ours in resnet_modules():
        yield f"backbone.{theirs}", f"backbone.bottom_up.{ours}"
    for level in range(4):
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

    mask = "roi_heads.mask_branch"
    yield from _residual_blocks("roi_head.mask_head.convs", f"{mask}.heads.0.blocks")
    yield "roi_head.mask_head.upsample", f"{mask}.heads.0.deconv"
    yield "roi_head.mask_head.conv_logits", f"{mask}.heads.0.predictor"
    yield "roi_head.feat_relay_head.fc", f"{mask}.relays.0.fc"

    for level in range(NUM_LEVELS):
        yield (
            f"roi_head.semantic_head.lateral_convs.{level}.conv",
            f"semantic_head.lateral_convs.p{level + 2}",
        )
    yield from _residual_blocks("roi_head.semantic_head.convs", "semantic_head.blocks")
    yield "roi_head.semantic_head.conv_logits", "semantic_head.predictor"
    yield "roi_head.semantic_head.conv_embedding.conv", "semantic_head.embedding"

    yield from _residual_blocks("roi_head.glbctx_head.convs", "global_context_head.blocks")
    yield "roi_head.glbctx_head.fc", "global_context_head.classifier"


def _residual_blocks(theirs: str, ours: str) -> Iterator[Tuple[str, str]]:
    for block in range(MAX_RESIDUAL_BLOCKS):
        for conv in (1, 2):
            yield f"{theirs}.{block}.conv{conv}", f"{ours}.{block}.conv{conv}"


def convert_mmdet_state_dict(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Rename the parameters of a reference model to ours."""
    table = dict(_modules())
    converted = {}
    for key, value in state_dict.items():
        module, _, parameter = key.rpartition(".")
        converted[f"{table[module]}.{parameter}"] = value
    return converted
