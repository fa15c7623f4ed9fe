"""SCNet R-50 1x as a LazyConfig, for Detectron2's tools/lazyconfig_train_net.py.

The same model, data and schedule as ../scnet_R_50_FPN_1x_coco.yaml. It needs ``import scnet`` to
work, and nothing else of the project. Each number of classes is set in one place:
``model.roi_heads.num_classes`` and ``model.semantic_head.num_classes``.
"""

import torch
from detectron2.config import LazyCall as L
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import transforms as T
from detectron2.evaluation import COCOEvaluator
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, ResNet
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import BasicStem
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import StandardRPNHead
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import MultiStepParamScheduler

from scnet.data import SCNetDatasetMapper
from scnet.modeling import (
    SCNet,
    SCNetBoxHead,
    SCNetMaskHead,
    SCNetROIHeads,
    SCNetRPN,
    SCNetSemanticHead,
)
from scnet.modeling.box_regression import ClampedBox2BoxTransform
from scnet.modeling.context_pooler import GLOBAL_CONTEXT, SEMANTIC, ContextPooler
from scnet.modeling.feature_relay import FeatureRelay
from scnet.modeling.global_context import GlobalContextHead
from scnet.modeling.mask_branch import MaskBranch

LEVELS = ["p2", "p3", "p4", "p5", "p6"]
STRIDES = [4, 8, 16, 32, 64]
NUM_CLASSES = "${model.roi_heads.num_classes}"
NUM_SEMANTIC_CLASSES = "${model.semantic_head.num_classes}"
IGNORE_VALUE = "${model.semantic_head.ignore_value}"
ITERATIONS_PER_EPOCH = 7330  # of 16 images


def pyramid():
    """The shapes of the levels, by name."""
    return {
        name: L(ShapeSpec)(channels=256, stride=stride) for name, stride in zip(LEVELS, STRIDES)
    }


def pooler(size):
    """RoI features of levels p2 to p5, of the semantic embedding and of the global context."""
    return L(ContextPooler)(
        pooler=L(ROIPooler)(
            output_size=size,
            scales=[1 / stride for stride in STRIDES[:4]],
            sampling_ratio=0,
            pooler_type="ROIAlignV2",
        ),
        in_features=[*LEVELS[:4], SEMANTIC, GLOBAL_CONTEXT],
        semantic_stride=8,
        semantic_size=14,
    )


def mapper(is_train):
    """From a data set dict to the model's input."""
    resize = L(T.ResizeShortestEdge)(short_edge_length=[800], max_size=1333, sample_style="choice")
    augmentations = [resize]
    if is_train:
        augmentations.append(L(T.RandomFlip)())
    return L(SCNetDatasetMapper)(
        is_train=is_train,
        augmentations=augmentations,
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
        semantic_source="stuffthingmaps",
        num_classes=NUM_CLASSES,
        num_semantic_classes=NUM_SEMANTIC_CLASSES,
        ignore_value=IGNORE_VALUE,
    )


model = L(SCNet)(
    pixel_mean=[123.675, 116.280, 103.530],
    pixel_std=[58.395, 57.120, 57.375],
    input_format="RGB",
    freeze_bn_statistics=True,
    backbone=L(FPN)(
        bottom_up=L(ResNet)(
            stem=L(BasicStem)(in_channels=3, out_channels=64, norm="BN"),
            stages=L(ResNet.make_default_stages)(depth=50, stride_in_1x1=False, norm="BN"),
            out_features=["res2", "res3", "res4", "res5"],
            freeze_at=2,
        ),
        in_features=["res2", "res3", "res4", "res5"],
        out_channels=256,
        top_block=L(LastLevelMaxPool)(),
    ),
    semantic_head=L(SCNetSemanticHead)(
        input_shape=pyramid(),
        num_classes=183,
        channels=256,
        num_conv=4,
        residual=True,
        stride=8,
        loss_weight=0.2,  # gamma
        ignore_value=255,
    ),
    global_context_head=L(GlobalContextHead)(
        input_shape=pyramid(),
        in_feature="p6",
        num_classes=NUM_CLASSES,
        num_blocks=2,
        loss_weight=3.0,  # lambda
    ),
    proposal_generator=L(SCNetRPN)(
        in_features=LEVELS,
        head=L(StandardRPNHead)(in_channels=256, num_anchors=3),
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[32], [64], [128], [256], [512]],
            aspect_ratios=[0.5, 1.0, 2.0],
            strides=STRIDES,
            offset=0.0,
        ),
        anchor_matcher=L(Matcher)(
            thresholds=[0.3, 0.7], labels=[0, -1, 1], allow_low_quality_matches=True
        ),
        box2box_transform=L(ClampedBox2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=(2000, 1000),
        post_nms_topk=(2000, 1000),
        nms_thresh=0.7,
        anchor_boundary_thresh=0,
        smooth_l1_beta=1 / 9,
    ),
    roi_heads=L(SCNetROIHeads)(
        num_classes=80,
        batch_size_per_image=512,
        positive_fraction=0.25,
        proposal_append_gt=True,
        resample=True,
        score_average="logits",
        stage_loss_weights=[1.0, 0.5, 0.25],  # alpha
        box_pooler=pooler(7),
        box_heads=[
            L(SCNetBoxHead)(
                input_shape=L(ShapeSpec)(channels=256, height=7, width=7),
                conv_dims=[],
                fc_dims=[1024, 1024],
            )
            for _ in range(3)
        ],
        box_predictors=[
            L(FastRCNNOutputLayers)(
                input_shape=L(ShapeSpec)(channels=1024),
                box2box_transform=L(ClampedBox2BoxTransform)(weights=weights),
                num_classes=NUM_CLASSES,
                cls_agnostic_bbox_reg=True,
                smooth_l1_beta=1.0,
                test_score_thresh=0.001,
            )
            for weights in (
                [10.0, 10.0, 5.0, 5.0],
                [20.0, 20.0, 10.0, 10.0],
                [30.30303030, 30.30303030, 14.92537313, 14.92537313],
            )
        ],
        proposal_matchers=[
            L(Matcher)(thresholds=[iou], labels=[0, 1], allow_low_quality_matches=False)
            for iou in (0.5, 0.6, 0.7)
        ],
        mask_branch=L(MaskBranch)(
            pooler=pooler(14),
            heads=[
                L(SCNetMaskHead)(
                    input_shape=L(ShapeSpec)(channels=256, height=14, width=14),
                    num_conv=12,
                    conv_dim=256,
                    num_classes=NUM_CLASSES,
                )
            ],
            relays=[L(FeatureRelay)(in_channels=1024, out_channels=256, out_size=14)],
            stages=[2],
            loss_weights=[1.75],  # beta of Eq. 4: the sum of alpha
            num_classes=NUM_CLASSES,
        ),
    ),
)

dataloader = {
    "train": L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_train_stuffthingmaps"),
        mapper=mapper(is_train=True),
        total_batch_size=16,
        num_workers=4,
    ),
    "test": L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_val", filter_empty=False),
        mapper=mapper(is_train=False),
        num_workers=4,
    ),
    "evaluator": L(COCOEvaluator)(dataset_name="${dataloader.test.dataset.names}"),
}

optimizer = L(torch.optim.SGD)(
    params=L(get_default_optimizer_params)(),  # the training script adds the model
    lr=0.02,
    momentum=0.9,
    weight_decay=0.0001,
)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01],
        milestones=[8 * ITERATIONS_PER_EPOCH, 11 * ITERATIONS_PER_EPOCH],
        num_updates="${train.max_iter}",
    ),
    warmup_length=500 / (12 * ITERATIONS_PER_EPOCH),
    warmup_factor=0.001,
)

train = {
    "output_dir": "output/lazy_scnet_R_50_FPN_1x_coco",
    "init_checkpoint": "detectron2://ImageNetPretrained/torchvision/R-50.pkl",
    "max_iter": 12 * ITERATIONS_PER_EPOCH,
    "amp": {"enabled": False},
    "ddp": {"broadcast_buffers": False, "find_unused_parameters": False, "fp16_compression": False},
    "checkpointer": {"period": ITERATIONS_PER_EPOCH, "max_to_keep": 100},
    "eval_period": ITERATIONS_PER_EPOCH,
    "log_period": 20,
    "device": "cuda",
}
