"""Checkpoints are whole or not there, and damaged ones are refused."""

import os
import random
import resource
import signal
import threading

import pytest
import torch
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


@pytest.fixture(params=[False, True], ids=["", "in the background"])
def checkpointer(request, linear, tmp_path):
    """With a checkpoint of an earlier step."""
    checkpointer = make_checkpointer(linear, tmp_path, request.param, Trainer(1))
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


def test_a_checkpoint_in_the_background_is_of_its_step(linear, tmp_path, monkeypatch):
    """Even if it is written when the weights have changed."""
    checkpointer = make_checkpointer(linear, tmp_path, True, Trainer(1))
    weights, write = linear.weight.clone(), threading.Event()
    monkeypatch.setattr("scnet.checkpoint.checkpointer.remove_if_there", lambda _: write.wait(60))
    checkpointer.save("model_0000001", iteration=1)
    with torch.no_grad():
        linear.weight.zero_()
    checkpointer.check_writing()  # does not wait
    assert not (tmp_path / "model_0000001.pth").exists()
    write.set()
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")
    loaded, trainer = resumes(tmp_path)
    assert torch.equal(loaded.weight, weights) and trainer.steps == 1


@pytest.mark.parametrize("look", ["check_writing", "finish_writing", "get_checkpoint_file", "save"])
def test_a_checkpoint_that_the_background_cannot_write(linear, tmp_path, monkeypatch, look):
    checkpointer = make_checkpointer(linear, tmp_path, True, Trainer(1))
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


def test_weights_that_are_not_finite_are_not_saved(checkpointer, before, linear, tmp_path):
    with torch.no_grad():
        linear.bias[7] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite, bias among them.*--resume"):
        checkpointer.save("model_0000002", iteration=2)
    assert contents(tmp_path) == before


def test_the_best_weights_are_no_place_to_go_on_from(checkpointer, tmp_path):
    checkpointer.save("model_best", iteration=3)
    checkpointer.finish_writing()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    assert (tmp_path / "model_best.pth").exists()


def test_going_on_without_the_state_of_the_training_is_refused(linear, tmp_path):
    torch.save({"model": linear.state_dict()}, tmp_path / "w.pth")
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
