"""What several tests share and fixtures cannot give."""

import io
import json
import os
import socket
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from PIL import Image
from pycocotools import mask as mask_util

from scnet import get_cfg
from scnet.config import CONFIG_DIR
from scnet.modeling.backbone.keys import SECTIONS
from scnet.modeling.build import MASK_HEADS

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
    *("TEST.REPORT", "False"),
]

NEED_TIMM = [name for name in SECTIONS.values() if name != "build_regnet_fpn_backbone"]
# Backbones that are not ResNets, made small.
NARROW_BACKBONES = [
    *("MODEL.SWIN.EMBED_DIM", 24, "MODEL.SWIN.DEPTHS", (2, 2, 2, 2)),
    *("MODEL.SWIN.NUM_HEADS", (1, 2, 4, 8), "MODEL.SWIN.DROP_PATH", 0.1),
    *("MODEL.VIT.EMBED_DIM", 32, "MODEL.VIT.DEPTH", 3, "MODEL.VIT.NUM_HEADS", 2),
    *("MODEL.VIT.IMG_SIZE", 128, "MODEL.VIT.WINDOW_SIZE", 3, "MODEL.VIT.GLOBAL_BLOCKS", (1,)),
    *("MODEL.TIMM.NAME", "convnext_atto", "MODEL.BACKBONE.SQUARE_PAD", 160),
]

NAMES = ["disk", "square", "triangle", "star", "ring"]  # of classes, for the tiny model


def development_data() -> Path:
    """The folder of real images and of more numbers of the reference; without it, skip the test.

    SCNET_SHARED names it; by default it is "shared" beside the repository.
    """
    path = Path(os.environ.get("SCNET_SHARED", REPOSITORY.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"needs the development data, which is not in {path}")
    return path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def command(output, *opts, flags=()) -> List[str]:
    """Arguments of train_net.py for a tiny quick start, the same for any number of processes."""
    config = REPOSITORY / "projects/SCNet/configs/quickstart.yaml"
    fixed = ["OUTPUT_DIR", output, "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2]
    fixed += ["SOLVER.REFERENCE_WORLD_SIZE", 0]
    return [str(x) for x in (*flags, "--config-file", config, *fixed, *TINY, *opts)]


def shipped_models(opts: Sequence = ()) -> List[Tuple[List[str], CfgNode]]:
    """The different models of the shipped configs, with other values of some keys.

    Without timm those that need it are left out.

    Args:
        opts: keys and values in turn; those of a backbone, and the side of padded squares, are for
            the configs that have it.

    Returns:
        for each model the names of its configs, and the config with the first of these names.
    """
    models = {}
    readers = {"RESNETS": "build_resnet_fpn_backbone", **SECTIONS}
    for path in sorted(CONFIG_DIR.rglob("*.yaml")):
        if path.name.startswith("Base"):
            continue
        cfg = get_cfg()
        cfg.merge_from_file(str(path))
        backbone = cfg.MODEL.BACKBONE.NAME
        if find_spec("timm") is None and backbone in NEED_TIMM:
            continue
        for key, value in zip(opts[::2], opts[1::2]):
            square = key != "MODEL.BACKBONE.SQUARE_PAD" or cfg.MODEL.BACKBONE.SQUARE_PAD
            if readers.get(key.split(".")[1], backbone) == backbone and square:
                cfg.merge_from_list([key, value])
        cfg.MODEL.WEIGHTS = ""
        if cfg.MODEL.BACKBONE.SQUARE_PAD:
            cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST = cfg.MODEL.BACKBONE.SQUARE_PAD
        if backbone == "build_timm_fpn_backbone":
            cfg.MODEL.TIMM.PRETRAINED = False
        names, _ = models.setdefault(cfg.MODEL.dump(), ([], cfg))
        names.append(path.stem)
    return list(models.values())


def random_boxes(count: int, height: int, width: int) -> torch.Tensor:
    """Boxes (count, 4) with corners in an image, at least a pixel wide and high."""
    corners = torch.rand(count, 2, 2) * torch.tensor([width, height])
    return torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)


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


def set_mask_branch(cfg, kind: str, relay: bool = True) -> None:
    """Choose a mask branch with the head that goes with it, and feature relay where it may be."""
    cfg.MODEL.SCNET.MASK_BRANCH = kind
    cfg.MODEL.ROI_MASK_HEAD.NAME = MASK_HEADS[kind]
    cfg.MODEL.SCNET.FEATURE_RELAY = relay and kind != "interleaved"


def training_step(model, batch):
    """Forward and backward; all losses must be finite and all parameters have a gradient."""
    model.train()
    model.zero_grad()
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values()), losses
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"no gradient: {without}"
    return losses


def detect(model, batch):
    model.eval()
    with torch.no_grad():
        return [x["instances"] for x in model(batch)]


class CocoSet:
    """A small valid data set in COCO format on disk, to be changed and written again.

    Three images of 40 x 60 pixels (height x width): "a.png" with a cat and a dog as polygons,
    "sub/b.jpg" with a dog as packed RLE, "c.png" without objects. Category ids are 3 and 7.

    Attributes:
        content: of the json file; `write` writes it.
        json_file, images: paths, of the json file and of the folder of the images.
    """

    SIZE = (40, 60)

    def __init__(self, folder: Path):
        self.json_file, self.images = folder / "set.json", folder / "images"
        rng = np.random.default_rng(0)
        names = ("a.png", "sub/b.jpg", "c.png")
        for name in names:
            path = self.images / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (*self.SIZE, 3), np.uint8)).save(path)
        mask = np.zeros(self.SIZE, np.uint8, order="F")
        mask[5:20, 30:50] = 1
        rle = mask_util.encode(mask)
        self.content = {
            "images": [
                {"id": k + 1, "file_name": name, "height": self.SIZE[0], "width": self.SIZE[1]}
                for k, name in enumerate(names)
            ],
            "annotations": [
                self.annotation(1, 1, 3, [2, 3, 20, 10], [[2, 3, 22, 3, 22, 13, 2, 13]]),
                self.annotation(2, 1, 7, [10, 8, 30, 30], [[10, 8, 40, 8, 40, 38, 10, 38]]),
                self.annotation(
                    3,
                    2,
                    7,
                    [30, 5, 20, 15],
                    {"size": rle["size"], "counts": rle["counts"].decode()},
                ),
            ],
            "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        }
        self.write()

    @staticmethod
    def annotation(number, image, category, bbox, segmentation):
        return {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": bbox,
            "area": bbox[2] * bbox[3],
            "iscrowd": 0,
            "segmentation": segmentation,
        }

    def write(self) -> None:
        self.json_file.write_text(json.dumps(self.content))


@contextmanager
def room_for(size):
    """Within it no file can grow above the size; what is printed, which may go to one, is lost."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
