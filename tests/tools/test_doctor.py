"""scnet doctor: what it finds here, and in environments that lack something."""

import sys
from importlib import metadata

import pytest
import torch
import torchvision

from scnet_tools import doctor


@pytest.fixture
def diagnose(monkeypatch, capsys):
    """diagnose(requirements): what it prints, and the message with which it ends, if it does."""

    def diagnose(*requirements):
        monkeypatch.setattr(sys, "argv", ["scnet doctor"])
        monkeypatch.setattr(metadata, "requires", lambda name: list(requirements))
        ended = ""
        try:
            doctor.main()
        except SystemExit as end:
            ended = str(end)
        return capsys.readouterr().out, ended

    return diagnose


def test_what_is_needed_is_here(diagnose):
    printed, ended = diagnose("torch>=2.4.1")
    assert not ended and "All that every command needs works here" in printed
    assert torch.__version__.partition("+")[0] in printed and "cores: works" in printed
    assert "detectron2._C" in printed and "PyTorch built with" not in printed


def test_packages_that_are_missing_or_too_old(diagnose):
    """Those of an extra are named, but are no reason to stop."""
    printed, ended = diagnose("tqdm>=9999", "no-such-one>=1", 'other-one>=2; extra == "export"')
    assert ended == "\nThis must be put right first: tqdm, no-such-one."
    lines = {x.split()[0]: x for x in printed.splitlines() if x}
    assert f"{metadata.version('tqdm')}, too old" in lines["tqdm"]
    assert "pip install 'no-such-one>=1'" in lines["no-such-one"]
    assert "(extra 'export')" in lines["other-one"] and "'other-one>=2'" in lines["other-one"]


def test_a_torchvision_that_does_not_go_with_pytorch(diagnose, monkeypatch):
    def fail(*args):
        raise RuntimeError("Couldn't load custom C++ ops.\nMore lines")

    monkeypatch.setattr(torchvision.ops, "nms", fail)
    printed, ended = diagnose()
    assert "computes nothing" in printed and "Couldn't load custom C++ ops.)" in printed
    assert ended.endswith("first: cpu.")


def test_an_import_that_fails_is_told_in_its_own_words(diagnose, monkeypatch):
    monkeypatch.setitem(sys.modules, "scnet", None)
    printed, ended = diagnose()
    assert "import of scnet halted" in printed and ended.endswith("first: import scnet.")


def test_a_gpu_is_named_and_tried(diagnose, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("pretends that there is a GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda k: (6e9, 8e9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda k: "Some GPU")
    found = {x.what: x for x in doctor.devices()}
    assert found.keys() == {"cpu", "cuda:0"} and not found["cpu"].to_do
    assert found["cuda:0"].here == "Some GPU, 6.0 of 8.0 GB free: computes nothing"
