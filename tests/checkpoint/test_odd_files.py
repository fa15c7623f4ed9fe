"""Files that are given as weights and are something else: one sentence that names the file."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from scnet.checkpoint import SCNetCheckpointer

WEIGHT, BIAS = torch.zeros(2, 3), torch.zeros(2)
GOOD = {"0.weight": WEIGHT, "0.bias": BIAS}


def load(path, training):
    model = nn.Sequential(nn.Linear(3, 2)).train(training)
    SCNetCheckpointer(model).load(str(path))


def model_of(**more):
    return {"model": {**GOOD, **{name.replace("_", "."): value for name, value in more.items()}}}


SAVED = {  # by torch.save, and words of the message
    "mmdet": ({"state_dict": GOOD, "meta": {}}, r"scnet convert .*odd.pth CONVERTED"),
    "names of mmdet": ({"backbone.conv1.weight": WEIGHT}, r"scnet convert .*odd.pth"),
    "no model": ({"optimizer": {}, "iteration": 3}, "has as 'optimizer' a value of the type dict"),
    "a model in a model": ({"model": {"model": GOOD}}, "has as 'model' a value of the type dict"),
    "nothing": ({}, "holds no weights"),
    "an empty model": ({"model": {}}, "holds no weights"),
    "None": ({"model": None}, "holds a NoneType"),
    "a tensor": (WEIGHT, "holds a Tensor"),
    "numbers as names": ({"model": {0: WEIGHT, 1: BIAS}}, "has the name 0"),
    "numbers as names without model": ({0: WEIGHT}, "has the name 0"),
    "bytes as names": ({"model": {b"0.weight": WEIGHT}}, "has the name b'0.weight'"),
    "text": (model_of(_bias="x"), "has as '.bias' a value of the type str"),
    "a list": (model_of(_bias=[1, 2]), "has as '.bias' a value of the type list"),
    "sparse": (model_of(_bias=BIAS.to_sparse()), "has as '.bias' a sparse tensor"),
    "without data": (model_of(_bias=BIAS.to("meta")), "has as '.bias' a tensor without data"),
    "quantized": (
        model_of(_bias=torch.quantize_per_tensor(BIAS, 1.0, 0, torch.qint8)),
        "has as '.bias' a quantized tensor",
    ),
}
PICKLED = {
    "nothing": ({}, "holds no weights"),
    "numbers as names": ({1: 2}, "has the name 1"),
    "odd blobs": ({"blobs": 3}, "holds a int"),
    "odd names of blobs": ({"blobs": {1: np.zeros(2)}}, "has the name 1"),
    "a model of no author": ({"model": {"a": np.zeros(2)}}, "has as 'model'"),
    "objects": ({"model": {"a": np.array([None])}, "__author__": "x"}, "more than arrays"),
    "text": ({"model": {"a": np.array(["x"])}, "__author__": "x"}, "an array of <U1"),
}
WRITTEN = {
    "empty": (b"", "it is empty"),
    "text": (b"hello world", "it begins with b'hello world'"),
    "web page": (b"\n<!DOCTYPE html><html>", "it is a web page"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "zeros": (bytes(1000), "it begins with b'.x00"),
}
CASES = [
    *((f"{name} in .pth", "pth", torch.save, *case) for name, case in SAVED.items()),
    *((f"{name} in .pkl", "pkl", pickle.dump, *case) for name, case in PICKLED.items()),
    *((f"{name} in .pth", "pth", None, *case) for name, case in WRITTEN.items()),
    ("a list in .pyth", "pyth", torch.save, {"model_state": [1]}, "holds a list"),
    ("None in .pyth", "pyth", torch.save, {"model_state": None}, "holds a NoneType"),
    ("weights in .ts", "ts", torch.save, {"model": GOOD}, "exported model.*give the weights"),
    ("an .onnx", "onnx", None, b"\x08\x07", "exported model.*give the weights"),
]


@pytest.mark.parametrize("training", [True, False], ids=["training", "prediction"])
@pytest.mark.parametrize(
    "ending, write, content, words", [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_an_odd_file_is_one_sentence(tmp_path, training, ending, write, content, words):
    path = tmp_path / f"odd.{ending}"
    if write is None:
        path.write_bytes(content)
    else:
        with open(path, "wb") as f:
            write(content, f)
    with pytest.raises(ValueError, match=f"odd.{ending}' .*{words}") as caught:
        load(path, training)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


def test_a_folder_is_no_missing_file(tmp_path):
    (tmp_path / "odd.pth").mkdir()
    with pytest.raises(OSError, match="odd.pth' are a folder. Give a file"):
        load(tmp_path / "odd.pth", False)


@pytest.mark.parametrize("path", ["foo://odd.pth", "http://127.0.0.1:9/odd.pth"])
def test_what_cannot_be_fetched_is_named(path, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=f"eights '{path}'"):
        load(path, False)


def test_a_name_without_anything_lists_the_known():
    with pytest.raises(ValueError, match="scnet://'.*"):
        load("scnet://", False)


@pytest.mark.parametrize("name", ["odd.pth", "odd.pt", "odd.bin", "odd"])
def test_weights_are_read_whatever_the_ending(tmp_path, name):
    torch.save({"model": GOOD}, tmp_path / name)
    load(tmp_path / name, False)


def test_what_a_catalog_does_not_have():
    with pytest.raises(ValueError, match="no weights 'catalog://nowhere': model not present"):
        load("catalog://nowhere", False)
