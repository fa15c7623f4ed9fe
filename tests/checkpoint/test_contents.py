"""What a file of weights may hold: no code, no broken values; the formats of other projects."""

import os
import pickle
import tarfile

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from scnet.checkpoint import SCNetCheckpointer
from scnet.checkpoint.reading import read_pickle, read_torch


class Dangerous:
    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.fixture(params=["dangerous.pth", "dangerous.pkl"])
def dangerous(request, linear, tmp_path):
    """A file of weights that makes a folder when it is read."""
    path, extra = tmp_path / request.param, Dangerous()
    extra.folder = str(tmp_path / "made by the file")
    weights = {k: v.numpy() for k, v in linear.state_dict().items()}
    if path.suffix == ".pth":
        weights = {k: torch.from_numpy(v) for k, v in weights.items()}
        torch.save({"model": weights, "extra": extra}, path)
    else:
        path.write_bytes(pickle.dumps({"model": weights, "__author__": "me", "extra": extra}))
    return path, tmp_path / "made by the file"


def test_files_that_run_code_are_refused(dangerous, linear):
    path, made = dangerous
    with pytest.raises(ValueError, match="dangerous.*MODEL.TRUST_WEIGHTS True"):
        SCNetCheckpointer(linear).load(str(path))
    assert not made.exists()


def test_the_format_of_pytorch_before_0_1_10_is_refused(tmp_path):
    """PyTorch before 2.6 runs code in it, also when asked to read weights only."""
    with tarfile.open(tmp_path / "old.pth", "w") as tar:
        tar.addfile(tarfile.TarInfo("pickle"))
    with pytest.raises(ValueError, match="old.pth' is .*it is of PyTorch before 0.1.10"):
        read_torch(str(tmp_path / "old.pth"))


def test_unless_they_are_trusted(dangerous, linear):
    path, made = dangerous
    SCNetCheckpointer(linear, trusted=True).load(str(path))
    assert made.exists()  # and its code was run once: a second time would be an error


@pytest.mark.parametrize("name", ["list.pth", "list.pkl", "list.pyth"])
def test_files_that_hold_something_else_are_named(linear, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps([1, 2])) if path.suffix == ".pkl" else torch.save([1, 2], path)
    with pytest.raises(ValueError, match=f"{name}' holds a list, not weights"):
        SCNetCheckpointer(linear).load(str(path))


def as_model_zoo(state, path):
    path.write_bytes(pickle.dumps({"model": state, "__author__": "them"}))


def as_detectron(state, path):
    path.write_bytes(pickle.dumps({"blobs": {**state, "weight_momentum": state["weight"] * 0}}))


def as_pycls(state, path):
    state = {name: torch.from_numpy(x) for name, x in state.items()}
    torch.save({"model_state": {**state, "bn.num_batches_tracked": torch.tensor(1)}}, path)


@pytest.mark.parametrize(
    "write, ending", [(as_model_zoo, "pkl"), (as_detectron, "pkl"), (as_pycls, "pyth")]
)
def test_files_of_other_projects_load_as_detectron2_loads_them(tmp_path, write, ending, caplog):
    state = {"weight": np.full((200, 300), 0.5, np.float32), "bias": np.ones(200, np.float32)}
    path = str(tmp_path / f"model.{ending}")
    write(state, tmp_path / f"model.{ending}")
    ours, theirs = nn.Linear(300, 200), nn.Linear(300, 200)
    SCNetCheckpointer(ours).load(path)
    DetectionCheckpointer(theirs).load(path)
    for name, x in state.items():
        assert np.array_equal(ours.state_dict()[name], theirs.state_dict()[name])
        assert np.array_equal(ours.state_dict()[name], x)


def test_a_file_of_pycls_without_its_weights_is_refused(linear, tmp_path):
    torch.save({"model": linear.state_dict()}, tmp_path / "model.pyth")
    with pytest.raises(ValueError, match="model.pyth' has no 'model_state'"):
        SCNetCheckpointer(linear).load(str(tmp_path / "model.pyth"))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_the_model_zoo(tmp_path, protocol):
    """Arrays of NumPy, also those of Python 2 and of one element."""
    arrays = {"w": np.arange(6.0).reshape(2, 3), "n": np.float32(3), "f": np.asfortranarray("ab")}
    path = tmp_path / "zoo.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "them"}, protocol))
    read = read_pickle(str(path))["model"]
    assert all(np.array_equal(read[k], v) for k, v in arrays.items())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="zoo.pkl' is no pickle of arrays, or it is damaged"):
        read_pickle(str(path))


def as_checkpoint(state, path):
    torch.save({"model": {name: torch.from_numpy(x) for name, x in state.items()}}, path)


def as_state_dict(state, path):
    torch.save({name: torch.from_numpy(x) for name, x in state.items()}, path)


@pytest.mark.parametrize("value, written", [("nan", "nan"), ("-inf", "inf"), (4e34, "4e.34")])
@pytest.mark.parametrize(
    "write, ending",
    [
        (as_checkpoint, "pth"),
        (as_state_dict, "pth"),
        (as_model_zoo, "pkl"),
        (as_detectron, "pkl"),
        (as_pycls, "pyth"),
    ],
)
def test_values_that_weights_cannot_have(linear, tmp_path, write, ending, value, written):
    state = {name: x.detach().numpy().copy() for name, x in linear.named_parameters()}
    path, before = tmp_path / f"model.{ending}", linear.weight.detach().clone()
    state["weight"][3, 4] = 9e9  # odd, but it can be
    write(state, path)
    SCNetCheckpointer(nn.Linear(300, 200)).load(str(path))
    state["bias"][7] = float(value)
    write(state, path)
    for training in (True, False):
        match = f"model.{ending}' has values .* in 1 of 2 tensors: 'bias' .{written}.\\. The file"
        with pytest.raises(ValueError, match=match):
            SCNetCheckpointer(linear.train(training)).load(str(path))
    assert torch.equal(linear.weight, before)


def test_half_precision_is_looked_at_too(tmp_path):
    weights = {"weight": torch.full((200, 300), 6e4).half(), "bias": torch.zeros(200).bfloat16()}
    torch.save(weights, tmp_path / "half.pth")
    SCNetCheckpointer(nn.Linear(300, 200)).load(str(tmp_path / "half.pth"))
    weights["weight"][0, 0] = float("inf")
    torch.save(weights, tmp_path / "half.pth")
    with pytest.raises(ValueError, match="'weight' .inf"):
        SCNetCheckpointer(nn.Linear(300, 200)).load(str(tmp_path / "half.pth"))


def test_the_trained_weights_beside_an_average_are_looked_at(linear, tmp_path):
    state = linear.state_dict()
    broken = {**state, "bias": state["bias"] / 0}
    torch.save({"model": state, "training_model": broken}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="in 1 of 2 tensors: 'bias'"):
        SCNetCheckpointer(linear).load(str(tmp_path / "model.pth"))


def test_weights_of_which_none_fits_are_refused_in_training(tmp_path):
    """PyTorch fills the counter of a batch norm, so that is not loaded from the file."""
    torch.save({"layer1.weight": torch.rand(3), "fc.bias": torch.rand(5)}, tmp_path / "other.pth")
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    match = "None of the 2 tensors in .*other.pth' fits.* layer1.weight, fc.bias.* 0.weight, 0.bias"
    with pytest.raises(ValueError, match=match):
        SCNetCheckpointer(model).load(str(tmp_path / "other.pth"))
    torch.save({"0.bias": torch.rand(3)}, tmp_path / "other.pth")
    SCNetCheckpointer(model).load(str(tmp_path / "other.pth"))
