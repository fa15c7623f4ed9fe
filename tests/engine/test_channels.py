"""Images that are no colours of 8 bits, from the training to the exported file."""

import json

import cv2
import numpy as np
import pytest
import torch

from helpers import TINY
from scnet import Predictor, get_config_file
from scnet.config import read_cfg
from scnet.data.validation.check_dataset import check_datasets
from scnet.engine import Trainer, configure_data
from scnet.image_kind import ImageKind
from scnet.visualization import draw_detections

FAST = [
    *("SEED", 3, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "SOLVER.STEPS", ()),
    *("SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 1, "VIS_PERIOD", 1),
    *("INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64),
    *("INPUT.COLOR_JITTER", 0.2, "INPUT.COPY_PASTE", 1.0, "INPUT.MASK_FORMAT", "bitmask"),
]
KINDS = {
    "gray": (ImageKind(1), ".png"),
    "gray, 16 bits": (ImageKind(1, "uint16"), ".png"),
    "colour, 16 bits": (ImageKind(3, "uint16"), ".png"),
    "colour and depth": (ImageKind(4), ".png"),
    "5 channels, 16 bits": (ImageKind(5, "uint16"), ".npy"),
    "2 channels of numbers": (ImageKind(2, "float32"), ".npy"),
}


@pytest.fixture
def make_images(coco_set):
    """make_images(kind, suffix) replaces the images of ``coco_set`` by random ones of a kind."""

    def make(kind, suffix):
        rng = np.random.default_rng(0)
        for record in coco_set.content["images"]:
            record["file_name"] = record["file_name"].rsplit(".")[0] + suffix
            path = str(coco_set.images / record["file_name"])
            pixels = rng.random((*coco_set.SIZE, kind.channels))
            pixels = (pixels * {"uint8": 255, "uint16": 4000, "float32": 1}[kind.dtype]).astype(
                kind.dtype
            )
            if suffix == ".npy":
                np.save(path, pixels)
            else:
                assert cv2.imwrite(path, pixels)
        coco_set.write()
        return coco_set

    return make


def configure(coco, kind, tmp_path, *opts):
    data = ["DATASETS.TRAIN_JSON", (str(coco.json_file),)]
    data += ["DATASETS.TRAIN_IMAGES", (str(coco.images),)]
    data += ["DATASETS.TEST_JSON", (str(coco.json_file),)]
    data += ["DATASETS.TEST_IMAGES", (str(coco.images),)]
    data += ["INPUT.CHANNELS", kind.channels, "INPUT.DTYPE", kind.dtype]
    opts = [*TINY, *FAST, *data, "OUTPUT_DIR", str(tmp_path / "run"), *opts]
    cfg = read_cfg(get_config_file("quickstart.yaml"), opts)
    return cfg, configure_data(cfg, opts[::2])


@pytest.mark.parametrize("name", KINDS)
def test_train_evaluate_and_predict(make_images, tmp_path, name):
    kind, suffix = KINDS[name]
    coco = make_images(kind, suffix)
    cfg, decisions = configure(coco, kind, tmp_path)
    assert ("measured in 3 of 3 images" in "".join(decisions)) == (kind != ImageKind())
    trainer = Trainer(cfg)
    trainer.train()
    assert trainer.model.backbone.bottom_up.stem.conv1.in_channels == kind.channels
    assert "segm/AP" in json.loads((tmp_path / "run/metrics.json").read_text().splitlines()[-1])
    weights = str(tmp_path / "run/model_final.pth")
    files = sorted(str(p) for p in coco.images.rglob("*" + suffix))
    for aug in (False, True):
        cfg.TEST.AUG.ENABLED, cfg.TEST.AUG.MIN_SIZES = aug, (64, 96)
        found = list(Predictor(weights, cfg).stream(files))
        assert all(len(x) for x in found)
    assert check_datasets(cfg, folder=str(tmp_path / "check"))
