"""Fixtures of all tests: tiny models, tiny batches, and the development data where it is there."""

import logging
import os
import random
import runpy
import subprocess
import sys
import uuid
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process and those that tests start

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from hypothesis import settings

import processes
from helpers import REPOSITORY, TINY, CocoSet, development_data, make_instances
from hub_stand_in import serve
from scnet import get_cfg, get_config_file
from scnet.checkpoint.hub import fetch
from scnet.data.datasets import shapes

# Hypothesis tries the same examples in every run, and prints how to repeat one that fails.
settings.register_profile("scnet", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("scnet")


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="seed of the random numbers in tests")


def pytest_report_header(config):
    return f"random numbers: --seed {config.getoption('seed')}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A test that starts a process is slow: the process imports PyTorch and Detectron2 anew."""
    for item in items:
        if {"run", "run_forked"} & set(item.fixturenames):
            item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file run in one worker (pytest -n), so that what they share is made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        report.sections.append(("Random numbers", f"--seed {item.config.getoption('seed')}"))
    return report


@pytest.fixture(autouse=True)
def random_seed(pytestconfig):
    """The seed that each test begins with, of all generators that have a global state."""
    seed = pytestconfig.getoption("seed")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


@pytest.fixture(scope="session", autouse=True)
def state_of_the_user(tmp_path_factory):
    """Of the tests alone, also in the processes that they start."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    return development_data()


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
def make_model(random_seed):
    def make(cfg):
        torch.manual_seed(random_seed)
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


@pytest.fixture
def hub_stand_in(tmp_path, monkeypatch):
    """A server in place of Hugging Face, an empty cache, and nobody is logged in."""
    reason = "needs huggingface_hub"
    constants = pytest.importorskip("huggingface_hub.constants", reason=reason)
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "fvcore"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    fetch.cache_clear()
    with serve() as hub:
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_TOKEN_PATH": str(tmp_path / "token"),
        }.items():
            monkeypatch.setattr(constants, name, value)
        yield hub
    fetch.cache_clear()


@pytest.fixture
def run_here(monkeypatch, capfd):
    """Run a script within this process, where starting another takes longer than the rest."""

    def run_here(script, *args, check=True, env=None):
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(REPOSITORY)
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, args)])
        capfd.readouterr()
        for name in ("scnet", "detectron2", "fvcore"):  # not those of a test before, now closed
            handlers = [logging.StreamHandler(sys.stdout)]
            monkeypatch.setattr(logging.getLogger(name), "handlers", handlers)
        status = 0
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):  # as Python does when it ends
                print(end.code, file=sys.stderr)
            status = 1 if isinstance(end.code, str) else end.code or 0
        written = capfd.readouterr()
        result = subprocess.CompletedProcess(sys.argv, status, written.err + written.out)
        assert not (check and status), result.stdout
        return result

    return run_here


@pytest.fixture(scope="session")
def run():
    """Run a script of the repository as a user would, from the repository's folder."""

    def run(*args, check=True, cwd=REPOSITORY, **kwargs):
        result = subprocess.run(
            [sys.executable, *map(str, args)],
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **kwargs,
        )
        if check:
            assert_no_failure(result)
        return result

    return run


@pytest.fixture(scope="session")
def run_forked():
    """As `run`, in a process that need not import PyTorch and Detectron2 (`processes`)."""

    def run_forked(*args, check=True, env=None):
        result = processes.run(*args, env=env)
        if check:
            assert_no_failure(result)
        return result

    return run_forked


def assert_no_failure(result):
    end = f"{result.args} ended with {result.returncode}:\n{result.stdout[-4000:]}"
    assert result.returncode == 0, end
