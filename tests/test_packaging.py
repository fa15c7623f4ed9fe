"""What is installed: the package, its configs and its tools, from wherever it comes."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import scnet
from helpers import REPOSITORY, TINY
from scnet.config import CONFIG_DIR

pytestmark = pytest.mark.slow
PROJECT = REPOSITORY / "projects/SCNet"
SOURCES = ["setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "train_net.py"]
BUILD_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
PREDICT = """
import sys
import scnet
weights, image, *opts = sys.argv[1:]
cfg = scnet.config.read_cfg(scnet.get_config_file("quickstart.yaml"), opts)
scnet.config.read_cfg(scnet.get_config_file("scnet_R_50_FPN_20e_coco.yaml"))  # for scnet://
print(scnet.__file__, len(scnet.Predictor(weights, cfg)(image)))
"""


def call(*command, **kwargs):
    result = subprocess.run(
        [*map(str, command)], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """Built from a copy, since a build leaves folders behind and takes what earlier ones left."""
    copy, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("sdist")
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, copy)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(PROJECT, copy / "projects/SCNet", ignore=ignored)
    call(sys.executable, "-W", "ignore", "-c", BUILD_SDIST, folder, cwd=copy)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the source distribution, so that holds all that it takes."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    call(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, sdist)
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def model(tiny_cfg, make_model, tmp_path):
    """Weights, with their config beside them, and an image."""
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    torch.save({"model": make_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    return tmp_path / "model.pth", tmp_path / "a.png"


def test_the_distributions_have_their_own_name_and_the_version_of_the_package(sdist, wheel):
    assert sdist.name == f"detectron2_scnet-{scnet.__version__}.tar.gz"
    assert wheel.name == f"detectron2_scnet-{scnet.__version__}-py3-none-any.whl"
    with tarfile.open(sdist) as archive:
        names = {Path(name).relative_to(Path(name).parts[0]) for name in archive.getnames()}
    assert {Path("LICENSE"), Path("README.md"), Path("train_net.py")} <= names


def test_a_wheel_carries_package_configs_and_tools(wheel):
    """An editable install would not notice if they were missing."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"detectron2_scnet-{scnet.__version__}.dist-info"
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(f"{info}/entry_points.txt").decode())
    folders = {"scnet": "scnet", "configs": "scnet/configs", "tools": "scnet_tools"}
    sources = {
        f"{installed}/{path.relative_to(PROJECT / folder).as_posix()}"
        for folder, installed in folders.items()
        for path in (PROJECT / folder).rglob("*")
        if path.suffix in (".html", ".py", ".yaml") or path.name == "py.typed"
    }
    assert {name for name in names if not name.startswith(info)} == sources
    assert f"{info}/licenses/LICENSE" in names or f"{info}/LICENSE" in names
    assert dict(entry_points["console_scripts"]) == {"scnet": "scnet_tools.__main__:main"}


def test_the_documented_installation_leaves_the_opencv_that_is_there(wheel, tmp_path):
    """pip would put opencv-python over opencv-python-headless, and cv2 would need a display."""
    documents = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    commands = "".join(document.read_text() for document in documents)
    extras = set(re.findall(r"pip install -e '?\.(?:\[(\w+)\])?", commands))
    with zipfile.ZipFile(wheel) as archive:
        info = f"detectron2_scnet-{scnet.__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert extras == {"", *metadata.get_all("Provides-Extra")}
    required = metadata.get_all("Requires-Dist")
    assert required and not [name for name in required if "opencv" in name]

    report = tmp_path / "report.json"
    options = ["--quiet", "--dry-run", "--no-index", "--report", report]
    packages = {"backbones": "timm", "demo": "gradio", "tiff": "tifffile"}
    absent = {"wandb"} | {extra for extra, name in packages.items() if find_spec(name) is None}
    for extra in sorted(extras - absent):  # what `make env` has; "" is none
        call(
            sys.executable,
            "-m",
            "pip",
            "install",
            *options,
            f"{wheel}[{extra}]" if extra else wheel,
        )
        installed = json.loads(report.read_text())["install"]
        assert {x["metadata"]["name"] for x in installed} <= {"detectron2-scnet"}


def test_an_installed_wheel_predicts_from_another_folder(wheel, model, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = ["--quiet", "--no-deps", "--no-index", "--target", site]
    call(sys.executable, "-m", "pip", "install", *options, wheel)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    weights, image = model
    output = call(
        *(sys.executable, "-W", "ignore", "-c", PREDICT, weights, image, *TINY),
        cwd=elsewhere,
        env=environment,
    )
    assert output.split()[-2:] == [str(site / "scnet/__init__.py"), "5"]
    arguments = ["--weights", weights, "--input", image, "--json-threshold", 0, "--json", "x.json"]
    scnet_command = [sys.executable, site / "bin/scnet"]
    call(*scnet_command, "predict", *arguments, cwd=elsewhere, env=environment)
    assert (elsewhere / "x.json").read_text().count('"image_id"') == 5


def test_a_clone_without_symbolic_links_predicts(model, tmp_path):
    """Git for Windows makes files with the target's name of them, unless it is told otherwise."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("needs the git repository; this is a copy without it")
    clone = tmp_path / "clone"
    call("git", "-c", "core.symlinks=false", "clone", "--quiet", REPOSITORY, clone)
    weights, image = model
    output = call(
        *(sys.executable, "-W", "ignore", "-c", PREDICT, weights, image, *TINY),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(clone / "projects/SCNet")},
    )
    assert output.split()[-2:] == [str(clone / "projects/SCNet/scnet/__init__.py"), "5"]


def test_the_configs_of_a_checkout_lie_beside_the_package():
    assert (PROJECT / "configs").samefile(CONFIG_DIR)
