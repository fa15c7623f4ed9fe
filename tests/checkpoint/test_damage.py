"""Checkpoints are whole or not there, and damaged or dangerous files are refused."""

import os
import pickle
import random
import resource
import signal
import tarfile
import threading

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from scnet.checkpoint import SCNetCheckpointer
from scnet.checkpoint.reading import read_pickle, read_torch


class Trainer:
    """Stands for what a checkpoint holds beside the model."""

    def __init__(self, steps=0):
        self.steps = steps

    def state_dict(self):
        return {"iteration": self.steps}

    def load_state_dict(self, state_dict):
        self.steps = state_dict["iteration"]


@pytest.fixture
def model():
    return nn.Linear(300, 200)


@pytest.fixture(params=[False, True], ids=["", "in the background"])
def checkpointer(request, model, tmp_path):
    """With a checkpoint of an earlier step."""
    checkpointer = make_checkpointer(model, tmp_path, request.param, Trainer(1))
    checkpointer.save("model_0000001", iteration=1)
    checkpointer.finish_writing()
    return checkpointer


def make_checkpointer(model, folder, in_background, trainer):
    return SCNetCheckpointer(model, str(folder), in_background=in_background, trainer=trainer)


@pytest.fixture
def before(checkpointer, tmp_path):
    return contents(tmp_path)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def resumes(folder):
    model, trainer = nn.Linear(300, 200), Trainer()
    SCNetCheckpointer(model, str(folder), trainer=trainer).resume_or_load("", resume=True)
    return model, trainer


def killed_in(function, name, monkeypatch, checkpointer):
    """Save in a process that is killed when `function` is called as `name`."""
    pid = os.fork()
    if not pid:
        torch.set_num_threads(1)  # the threads of this process are not in its copy
        monkeypatch.setattr(name, function)
        in_background = checkpointer._thread is not None
        trainer = checkpointer.checkpointables["trainer"]
        copy = make_checkpointer(checkpointer.model, checkpointer.save_dir, in_background, trainer)
        copy.save("model_0000002", iteration=2)
        copy.finish_writing()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def kill(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def write_half(data, file):
    file.write(b"PK" + bytes(1000))
    file.flush()
    kill()


@pytest.mark.parametrize(
    "name, function", [("torch.save", write_half), ("os.fsync", kill), ("os.replace", kill)]
)
def test_killed_while_writing(checkpointer, before, tmp_path, monkeypatch, name, function):
    checkpointer.checkpointables["trainer"].steps = 2
    killed_in(function, name, monkeypatch, checkpointer)
    after = contents(tmp_path)
    assert {key: after[key] for key in before} == before
    assert "model_0000002.pth" not in after
    assert resumes(tmp_path)[1].steps == 1
    checkpointer.save("model_0000002", iteration=2)  # what is left over is no obstacle
    checkpointer.finish_writing()
    assert resumes(tmp_path)[1].steps == 2
    assert not any(name.startswith("unfinished") for name in contents(tmp_path))


def test_a_full_disk(checkpointer, before, tmp_path):
    """Writing fails in the middle, as when no block is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="Cannot write.*0000002.*The last one.*0000001.*whole"):
            checkpointer.save("model_0000002", iteration=2)
            checkpointer.finish_writing()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == before


def test_a_checkpoint_in_the_background_is_of_its_step(model, tmp_path, monkeypatch):
    """Even if it is written when the weights have changed."""
    checkpointer = make_checkpointer(model, tmp_path, True, Trainer(1))
    weights, write = model.weight.clone(), threading.Event()
    monkeypatch.setattr("scnet.checkpoint.checkpointer.remove_if_there", lambda _: write.wait(60))
    checkpointer.save("model_0000001", iteration=1)
    with torch.no_grad():
        model.weight.zero_()
    checkpointer.check_writing()  # does not wait
    assert not (tmp_path / "model_0000001.pth").exists()
    write.set()
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")
    loaded, trainer = resumes(tmp_path)
    assert torch.equal(loaded.weight, weights) and trainer.steps == 1


@pytest.mark.parametrize("look", ["check_writing", "finish_writing", "get_checkpoint_file", "save"])
def test_a_checkpoint_that_the_background_cannot_write(model, tmp_path, monkeypatch, look):
    checkpointer = make_checkpointer(model, tmp_path, True, Trainer(1))
    monkeypatch.setattr("os.replace", lambda *args: os.stat(tmp_path / "gone"))
    checkpointer.save("model_0000001", iteration=1)
    checkpointer._thread.shutdown()
    with pytest.raises(OSError, match="Cannot write the checkpoint 'model_0000001.pth'"):
        getattr(checkpointer, look)(*["model_0000002"] * (look == "save"))


def test_links_are_replaced_and_not_followed(checkpointer, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    names = ["unfinished_model_0000002.pth", "model_0000002.pth", "last_checkpoint.new"]
    for name in names:
        (tmp_path / name).symlink_to(mine)
    (tmp_path / "last_checkpoint").unlink()
    (tmp_path / "last_checkpoint").symlink_to(mine)
    checkpointer.save("model_0000002", iteration=2)
    checkpointer.finish_writing()
    assert mine.read_text() == "mine"
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"
    assert not any(path.is_symlink() for path in tmp_path.iterdir())


def test_weights_that_are_not_finite_are_not_saved(checkpointer, before, model, tmp_path):
    with torch.no_grad():
        model.bias[7] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite, bias among them.*--resume"):
        checkpointer.save("model_0000002", iteration=2)
    assert contents(tmp_path) == before


def test_the_best_weights_are_no_place_to_go_on_from(checkpointer, tmp_path):
    checkpointer.save("model_best", iteration=3)
    checkpointer.finish_writing()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    assert (tmp_path / "model_best.pth").exists()


def test_going_on_without_the_state_of_the_training_is_refused(model, tmp_path):
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    (tmp_path / "last_checkpoint").write_text("w.pth")
    with pytest.raises(ValueError, match="Cannot go on from .*w.pth': it has no 'trainer'"):
        resumes(tmp_path)


def test_damage_is_noticed_or_harmless(checkpointer, tmp_path):
    """Cut anywhere, or with a flipped bit anywhere: an error, or the very same content."""
    rng = random.Random(0)
    whole = (tmp_path / "model_0000001.pth").read_bytes()
    content = read_torch(str(tmp_path / "model_0000001.pth"))
    path, refused = tmp_path / "damaged.pth", 0
    cuts = [whole[:n] for n in (0, 1, 4, len(whole) // 2, len(whole) - 1)]
    flips = []
    for _ in range(60):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        flips.append(bytes(flipped))
    for damaged in [*cuts, *flips]:
        path.write_bytes(damaged)
        try:
            read = read_torch(str(path))
        except ValueError as error:
            assert "damaged.pth' is" in str(error) and "last_checkpoint" in str(error)
            refused += 1
        else:
            assert damaged not in cuts
            assert all(torch.equal(read["model"][k], v) for k, v in content["model"].items())
    assert refused > 50


@pytest.mark.parametrize("zipped", [True, False])
def test_no_files_of_weights(tmp_path, zipped):
    """Bytes changed at random, in the format of old versions too: nothing but ValueError."""
    rng, path = random.Random(0), tmp_path / "other.pth"
    torch.save({"w": torch.rand(3)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for base in [whole] * 200 + [b"not a file of weights"] * 20:
        changed = bytearray(base)
        for _ in range(3):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)
        for read in (read_torch, read_pickle):
            try:
                read(str(path))
            except ValueError as error:
                assert "other.pth' " in str(error)


def test_truncated_checkpoints_are_named_when_resuming(checkpointer, tmp_path):
    path = tmp_path / "model_0000001.pth"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model_0000001.pth' is .*earlier checkpoint"):
        resumes(tmp_path)


class Dangerous:
    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.fixture(params=["dangerous.pth", "dangerous.pkl"])
def dangerous(request, model, tmp_path):
    """A file of weights that makes a folder when it is read."""
    path, extra = tmp_path / request.param, Dangerous()
    extra.folder = str(tmp_path / "made by the file")
    weights = {k: v.numpy() for k, v in model.state_dict().items()}
    if path.suffix == ".pth":
        weights = {k: torch.from_numpy(v) for k, v in weights.items()}
        torch.save({"model": weights, "extra": extra}, path)
    else:
        path.write_bytes(pickle.dumps({"model": weights, "__author__": "me", "extra": extra}))
    return path, tmp_path / "made by the file"


def test_files_that_run_code_are_refused(dangerous, model):
    path, made = dangerous
    with pytest.raises(ValueError, match="dangerous.*MODEL.TRUST_WEIGHTS True"):
        SCNetCheckpointer(model).load(str(path))
    assert not made.exists()


def test_the_format_of_pytorch_before_0_1_10_is_refused(tmp_path):
    """PyTorch before 2.6 runs code in it, also when asked to read weights only."""
    with tarfile.open(tmp_path / "old.pth", "w") as tar:
        tar.addfile(tarfile.TarInfo("pickle"))
    with pytest.raises(ValueError, match="old.pth' is .*it is of PyTorch before 0.1.10"):
        read_torch(str(tmp_path / "old.pth"))


def test_unless_they_are_trusted(dangerous, model):
    path, made = dangerous
    SCNetCheckpointer(model, trusted=True).load(str(path))
    assert made.exists()  # and its code was run once: a second time would be an error


@pytest.mark.parametrize("name", ["list.pth", "list.pkl", "list.pyth"])
def test_files_that_hold_something_else_are_named(model, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps([1, 2])) if path.suffix == ".pkl" else torch.save([1, 2], path)
    with pytest.raises(ValueError, match=f"{name}' holds a list, not weights"):
        SCNetCheckpointer(model).load(str(path))


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


def test_a_file_of_pycls_without_its_weights_is_refused(model, tmp_path):
    torch.save({"model": model.state_dict()}, tmp_path / "model.pyth")
    with pytest.raises(ValueError, match="model.pyth' has no 'model_state'"):
        SCNetCheckpointer(model).load(str(tmp_path / "model.pyth"))


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
def test_values_that_weights_cannot_have(model, tmp_path, write, ending, value, written):
    state = {name: x.detach().numpy().copy() for name, x in model.named_parameters()}
    path, before = tmp_path / f"model.{ending}", model.weight.detach().clone()
    state["weight"][3, 4] = 9e9  # odd, but it can be
    write(state, path)
    SCNetCheckpointer(nn.Linear(300, 200)).load(str(path))
    state["bias"][7] = float(value)
    write(state, path)
    for training in (True, False):
        match = f"model.{ending}' has values .* in 1 of 2 tensors: 'bias' .{written}.\\. The file"
        with pytest.raises(ValueError, match=match):
            SCNetCheckpointer(model.train(training)).load(str(path))
    assert torch.equal(model.weight, before)


def test_half_precision_is_looked_at_too(tmp_path):
    weights = {"weight": torch.full((200, 300), 6e4).half(), "bias": torch.zeros(200).bfloat16()}
    torch.save(weights, tmp_path / "half.pth")
    SCNetCheckpointer(nn.Linear(300, 200)).load(str(tmp_path / "half.pth"))
    weights["weight"][0, 0] = float("inf")
    torch.save(weights, tmp_path / "half.pth")
    with pytest.raises(ValueError, match="'weight' .inf"):
        SCNetCheckpointer(nn.Linear(300, 200)).load(str(tmp_path / "half.pth"))


def test_the_trained_weights_beside_an_average_are_looked_at(model, tmp_path):
    state = model.state_dict()
    broken = {**state, "bias": state["bias"] / 0}
    torch.save({"model": state, "training_model": broken}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="in 1 of 2 tensors: 'bias'"):
        SCNetCheckpointer(model).load(str(tmp_path / "model.pth"))


def test_weights_of_which_none_fits_are_refused_in_training(tmp_path):
    """PyTorch fills the counter of a batch norm, so that is not loaded from the file."""
    torch.save({"layer1.weight": torch.rand(3), "fc.bias": torch.rand(5)}, tmp_path / "other.pth")
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    match = "None of the 2 tensors in .*other.pth' fits.* layer1.weight, fc.bias.* 0.weight, 0.bias"
    with pytest.raises(ValueError, match=match):
        SCNetCheckpointer(model).load(str(tmp_path / "other.pth"))
    torch.save({"0.bias": torch.rand(3)}, tmp_path / "other.pth")
    SCNetCheckpointer(model).load(str(tmp_path / "other.pth"))


@pytest.mark.parametrize("name", ["why?", "a?b/c", "[1]", "a#b", "a;b", "50%25", "*"])
def test_a_training_goes_on_in_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    model = nn.Linear(300, 200)
    SCNetCheckpointer(model, str(folder), trainer=Trainer(7)).save("model_0000007", iteration=7)
    resumed, trainer = resumes(folder)
    assert trainer.steps == 7 and torch.equal(resumed.weight, model.weight)
    (folder / "last_checkpoint").unlink()
    assert resumes(folder)[1].steps == 7
