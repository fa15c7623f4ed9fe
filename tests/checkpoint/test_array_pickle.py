"""Pickles of arrays are read as data: attacks with the very names that arrays are made of."""

import codecs
import os
import pickle
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from detectron2.utils.file_io import PathManager
from numpy._core.multiarray import _reconstruct, scalar
from numpy._core.numeric import _frombuffer

from scnet.checkpoint.array_pickle import load_arrays
from scnet.checkpoint.reading import read_pickle

ARRAYS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "turned": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "part": np.arange(24).reshape(4, 6)[::2, ::3],
    "big endian": np.arange(3, dtype=">f4"),
    "half": np.ones(2, np.float16),
    "bool": np.array([True, False]),
    "text": np.array(["ab", "ç"]),
    "bytes": np.array([b"ab"]),
    "none": np.zeros((0, 3), np.float32),
    "one": np.array(3.5),
    "scalar": np.float32(3),
    "count": np.int64(7),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read_as_python_reads_them(protocol):
    shared = np.ones(3, np.float32)
    more = {"a": shared, "b": shared, "big": shared.astype(">f4"), "again": shared * 2}
    plain = {"n": [1, -2, 2**70, 0.5, None, True, "ç", b"\xff", (1, (2,)), {}, []], 7: "x"}
    content = {"model": OrderedDict(ARRAYS), "more": more, **plain}
    read = load_arrays(pickle.dumps(content, protocol))
    assert read.keys() == content.keys()
    for part in ("model", "more"):
        for name, array in content[part].items():
            found = read[part][name]
            assert np.array_equal(found, array) and found.dtype == array.dtype, name
            assert found.shape == array.shape and type(found) is type(array), name
            assert type(found) is not np.ndarray or found.flags.writeable
    assert {key: read[key] for key in plain} == plain


def python2(array):
    """As Python 2 writes an array, with names of NumPy 1 and strings of bytes."""
    data = array.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
        + b"".join(b"K" + bytes([side]) for side in array.shape)
        + b"\x85" * (array.ndim == 1)
        + b"\x86" * (array.ndim == 2)
        + b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        + b"K\x00tb\x89T"
        + len(data).to_bytes(4, "little")
        + data
        + b"tb"
    )


def test_arrays_of_python_2():
    array = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    content = b"\x80\x02}(U\x05model}U\x01w" + python2(array) + b"sU\x0a__author__U\x02\xe7\xe7u."
    read = load_arrays(content)
    assert read["__author__"] == "çç" and np.array_equal(read["model"]["w"], array)


class Call:
    """Is pickled as a call of a function, and then BUILD with a state if there is one."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) + ((state,) if state is not None else ())

    def __reduce__(self):
        return self.reduced


POINTER = (0x4141414141414141).to_bytes(8, "little")
F4 = np.dtype("f4")
PLAIN = (3, "|", None, None, None, -1, -1, 0)


def dtype(code, state=PLAIN):
    return Call(np.dtype, code, False, True, state=state)


def array(data, kind=F4, shape=(1,), order="C"):
    return Call(_frombuffer, data, kind, shape, order)


def older(data, kind=F4, shape=(1,), of=np.ndarray):
    return Call(_reconstruct, of, (0,), b"b", state=(1, shape, kind, False, data))


DEEP = b")" + b"\x85" * 200_000  # a tuple in a tuple in a tuple ...
FIELDS = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 8, 0)  # the last says: no pointers
ATTACKS = {
    "objects": np.array([None]),
    "a pointer as an object": array(POINTER, dtype("O8")),
    "in the older way": older(POINTER, dtype("O8")),
    "objects in a list": older([None], dtype("O8")),
    "in a field": array(POINTER, dtype("V8", FIELDS)),
    "in a field, in the older way": older(POINTER, dtype("V8", FIELDS)),
    "in a field of what is called a number": array(POINTER, dtype("f8", FIELDS)),
    "a number with fields": array(POINTER, dtype("f8", (*FIELDS[:4], {"a": (F4, 0)}, 8, 8, 0))),
    "in a scalar": Call(scalar, dtype("O8"), POINTER),
    "in a field of a scalar": Call(scalar, dtype("V8", FIELDS), POINTER),
    "in a subarray": array(
        POINTER, dtype("V8", (3, "|", (np.dtype("O"), (1,)), None, None, 8, 8, 0))
    ),
    "a type by its description": array(POINTER, Call(np.dtype, "O", False, True, state=PLAIN)),
    "types by their descriptions": array(POINTER, Call(np.dtype, [("a", "O")], state=PLAIN)),
    "a type of no size": array(POINTER, dtype("V0")),
    "dates": array(POINTER, dtype("M8", (4, *PLAIN[1:], ({}, ("s", 1, 1, 1))))),
    "an unfinished type": array(POINTER, Call(np.dtype, "f8", False, True)),
    "more elements than bytes": array(bytes(8), shape=(10**6,)),
    "in the older way again": older(bytes(8), shape=(10**6,)),
    "fewer": array(bytes(8)),
    "a shape that overflows": array(bytes(0), shape=(2**62, 4)),
    "a shape that overflows, older": older(bytes(0), shape=(2**31, 2**31, 4)),
    "a negative shape": array(bytes(8), shape=(-1,)),
    "another order": array(bytes(4), order=ARRAYS),
    "an array of an array": array(older(bytes(4))),
    "an array that is being made": array(Call(_reconstruct, np.ndarray, (0,), b"b")),
    "arrays of another class": older(bytes(4), of=np.memmap),
    "characters that there are not": array(b"\xff" * 4, dtype("U1")),
    "a bool that is 2": array(b"\x02", dtype("b1")),
    "another encoding": Call(codecs.encode, b"x" * 9, "zlib"),
    "attributes of a dict": Call(OrderedDict, state={"items": 1}),
    "attributes of a function": Call(getattr, 1, 2),
    "a set": {1, 2},
    "a complex number": 1j,
}  # fmt: skip
BYTES = {
    "attributes of the reader's functions": b"cnumpy\ndtype\nN}X\x05\x00\x00\x00buildNs\x86b.",
    "attributes of NumPy's functions": b"cnumpy\nndarray\n}X\x01\x00\x00\x00aNsb.",
    "a call of what is no function": b"})R.",
    "a class of copyreg": b"\x82\x01.",
    "a persistent id": b"Pid\n.",
    "an instance": b"(icollections\nOrderedDict\n.",
    "an instance of protocol 2": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "an item of an array": python2(np.zeros(1, np.float32)) + b"K\x00K\x01s.",
    "a deep key": b"}" + DEEP + b"Ns.",
    "a deep key of an OrderedDict": b"ccollections\nOrderedDict\n](" + DEEP + b"N\x86e\x85R.",
    "the 2,000,000,000th name": b"\x80\x02Nr\x00\x94\x35\x77.",
    "a gigabyte that is not there": b"\x80\x05\x96\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00.",
}  # fmt: skip


@pytest.fixture
def no_harm(tmp_path):
    """The largest memory while a pickle is read, in megabytes; nothing else may be called."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_attacks_with_the_names_of_arrays_are_refused(tmp_path, name, protocol, no_harm):
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps({"model": {"w": ATTACKS[name]}}, protocol))
    with pytest.raises(ValueError, match="zoo.pkl' is no pickle of arrays.*TRUST_WEIGHTS"):
        read_pickle(str(tmp_path / "zoo.pkl"))
    assert no_harm() < 50


@pytest.mark.parametrize("name", BYTES)
def test_attacks_with_instructions_are_refused(tmp_path, name, no_harm):
    (tmp_path / "zoo.pkl").write_bytes(BYTES[name])
    try:
        read = read_pickle(str(tmp_path / "zoo.pkl"))
    except ValueError as error:
        assert "zoo.pkl' is no pickle of arrays" in str(error)
    else:
        assert read in (None, b"")  # what is harmless without its size
    assert no_harm() < 50


def test_what_was_checked_is_what_is_used(tmp_path, monkeypatch):
    """The file is exchanged as soon as it is open."""
    path, other = tmp_path / "zoo.pkl", tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps({"model": {"w": ARRAYS["weights"]}}))
    made = str(tmp_path / "made")
    other.write_bytes(pickle.dumps(Call(os.mkdir, made)))
    real, opened = PathManager.open, []

    def open_and_exchange(name, *args, **kwargs):
        opened.append(real(name, *args, **kwargs))
        os.replace(other, path)
        return opened[-1]

    monkeypatch.setattr(PathManager, "open", open_and_exchange)
    read = read_pickle(str(path), trusted=True)
    assert np.array_equal(read["model"]["w"], ARRAYS["weights"])
    assert len(opened) == 1 and not os.path.exists(made)
