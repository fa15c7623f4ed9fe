"""Fixtures of all tests: tiny models, tiny batches, and the development data where it is there."""

import os
import sys
import uuid
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process and those that tests start

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from helpers import REPOSITORY, TINY, CocoSet, make_instances
from scnet import get_cfg, get_config_file
from scnet.data.datasets import shapes


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


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Variables for a process that finds a small version of the built-in data set."""
    cache = tmp_path_factory.mktemp("cache")
    root = cache / "scnet" / f"shapes_v{shapes.VERSION}"
    shapes.generate(str(root), {"train": 8, "val": 6})
    return {**os.environ, "FVCORE_CACHE": str(cache)}


@pytest.fixture
def coco_set(tmp_path):
    """A small data set in COCO format, in a folder whose name is its own."""
    folder = tmp_path / f"data_{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    return CocoSet(folder)


@pytest.fixture
def video(tmp_path):
    """A video of three frames of 48 x 64 pixels (height x width), five per second."""
    path = str(tmp_path / "clip.mp4")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 48))
    for frame in np.random.default_rng(1).integers(0, 255, (3, 48, 64, 3), np.uint8):
        writer.write(frame)
    writer.release()
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
