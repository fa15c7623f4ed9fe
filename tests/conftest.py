"""Fixtures of all tests: tiny models, tiny batches, and the development data where it is there."""

import os
import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances

from scnet import get_cfg, get_config_file

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = [
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.WEIGHTS", ""),
    *("MODEL.FPN.OUT_CHANNELS", "16"),
    *("MODEL.SEM_SEG_HEAD.CONVS_DIM", "16"),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", "16"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "32"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "16"),
    *("MODEL.RPN.POST_NMS_TOPK_TRAIN", "40"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "20"),
    *("TEST.DETECTIONS_PER_IMAGE", "5"),
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data beside the repository: real images, and the reference's numbers."""
    path = Path(os.environ.get("SCNET_SHARED", REPOSITORY.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"needs the development data, which is not in {path}")
    return path


@pytest.fixture
def tiny_cfg():
    """The quick-start model, made smaller."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("quickstart.yaml"))
    cfg.merge_from_list(TINY)
    return cfg


@pytest.fixture
def make_model():
    def make(cfg):
        torch.manual_seed(0)
        return build_model(cfg)

    return make


def make_instances(height: int, width: int, classes) -> Instances:
    """Objects at random places, each filling its box."""
    count = len(classes)
    corners = torch.rand(count, 2) * torch.tensor([width / 2, height / 2])
    sides = torch.rand(count, 2) * torch.tensor([width / 2 - 8, height / 2 - 8]) + 8
    boxes = torch.cat([corners, corners + sides], dim=1)
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist()):
        mask[y1:y2, x1:x2] = True
    instances = Instances((height, width), gt_boxes=Boxes(boxes))
    instances.gt_classes = torch.as_tensor(classes, dtype=torch.int64)
    instances.gt_masks = BitMasks(masks)
    return instances


@pytest.fixture
def make_batch():
    """Training inputs: make_batch(cfg, [classes of the objects, per image], ...)."""

    def make(cfg, classes_per_image, sizes=((64, 80), (56, 64))):
        batch = []
        for (height, width), classes in zip(sizes, classes_per_image):
            num_semantic = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
            batch.append(
                {
                    "file_name": f"image{len(batch)}.png",
                    "image": torch.rand(3, height, width) * 255,
                    "height": height,
                    "width": width,
                    "instances": make_instances(height, width, classes),
                    "sem_seg": torch.randint(0, num_semantic, (height, width)),
                }
            )
        return batch

    return make


@pytest.fixture(scope="session")
def run():
    """Run a script of the repository as a user would, from the repository's folder."""
    import subprocess

    def run(*args, check=True, cwd=REPOSITORY, **kwargs):
        result = subprocess.run(
            [sys.executable, *map(str, args)],
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **kwargs,
        )
        if check and result.returncode:
            raise AssertionError(f"{args} ended with {result.returncode}:\n{result.stdout[-4000:]}")
        return result

    return run
