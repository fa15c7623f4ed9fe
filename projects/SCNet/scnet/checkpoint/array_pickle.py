"""Reading pickles of NumPy arrays as data.

A pickle is a program for a small machine. The machine here has the instructions that make dicts,
lists, tuples, strings and numbers, and knows the names from which Python 2 and 3 and all versions
of NumPy build arrays. These names stand for functions of this file. They check what they are given,
and so no other function is called with what the file says, and an array is never more than bytes
that are in the file.
"""

import io
import math
import pickle
import re
from typing import Any, Callable, Dict, Iterable, NoReturn, Optional, Sequence, Tuple

import numpy as np

# Bool, whole, real and complex numbers, and strings. Other types have pointers, or are made of
# several.
PLAIN_TYPE = re.compile(r"[biufcSU][1-9]\d{0,3}")
BYTE_ORDERS = ("<", ">", "=", "|")
ORDERS = ("C", "F", "K")
# Python hashes them without going deeper: a tuple that is nested a million times ends the process.
KEY_TYPES = {str, bytes, int, float, bool, type(None)}


class Name:
    """Stands for a function or class that a pickle names; it has nothing that could be set."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[..., Any]):
        self.build = build


class Unfinished:
    """A type or array that is named before what it is made of; ``finish`` makes it."""

    __slots__ = ("finish",)

    def __init__(self, finish: Callable[..., Any]):
        self.finish = finish


def load_arrays(content: bytes) -> Any:
    """Read a pickle of dicts, lists, tuples, strings, numbers and arrays.

    Args:
        content: of the file. Strings of Python 2 are read as latin1.

    Raises:
        Exception: of many kinds, for a pickle that is damaged or holds anything else.
    """
    return _Reader(io.BytesIO(content), encoding="latin1").load()


def refuse(*_: Any) -> NoReturn:
    """Stop at an instruction, or at values for one, that no pickle of arrays has.

    Raises:
        pickle.UnpicklingError: always.
    """
    raise pickle.UnpicklingError("it holds more than arrays and plain values")


def with_byte_order(code: str, *state: Any) -> np.dtype:
    """Make a type of its code and byte order, the rest of the state being that of plain types."""
    _, order, subtype, names, fields = state[:5]
    if order not in BYTE_ORDERS or (subtype, names, fields) != (None, None, None):
        refuse()
    return np.dtype(code).newbyteorder(order)


def make_type(code: Any, *_: Any) -> Unfinished:
    if type(code) is not str or not PLAIN_TYPE.fullmatch(code):
        refuse()
    return Unfinished(lambda *state: with_byte_order(code, *state))


def make_bytes(text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding != "latin1":
        refuse()
    return text.encode("latin1")


def bytes_of_none() -> bytes:
    return b""


def make_array(
    data: Any, dtype: Any, shape: Any, order: Any, axes: Optional[Sequence[int]] = None
) -> np.ndarray:
    """Make an array that has its memory for itself.

    Args:
        data: bytes; in files of Python 2 a string.
        dtype: of an element.
        shape: of the array.
        order: "C", "F", or "K" for that of ``axes``.
        axes: for "K", where the axes come from.
    """
    if type(data) is str:
        data = data.encode("latin1")
    if type(data) is not bytes or not isinstance(dtype, np.dtype) or order not in ORDERS:
        refuse()
    if type(shape) is not tuple or any(type(side) is not int or side < 0 for side in shape):
        refuse()
    if math.prod(shape) * dtype.itemsize != len(data):
        raise pickle.UnpicklingError("an array has more or fewer bytes than its shape says")
    if dtype.kind == "b" and data.translate(None, b"\0\1"):
        refuse()
    if dtype.kind == "U":
        data.decode("utf-32-be" if dtype.str[0] == ">" else "utf-32-le")  # has no other characters
    array = np.ndarray(shape, dtype, data, order="F" if order == "F" else "C")
    return (array if axes is None else array.transpose(axes)).copy("K")


def make_array_later(kind: Any, *_: Any) -> Unfinished:
    if kind is not NDARRAY:
        refuse()
    return Unfinished(finish_array)


def finish_array(*state: Any) -> np.ndarray:
    shape, dtype, is_fortran, data = state[-4:]  # before it a version, which old files lack
    return make_array(data, dtype, shape, "F" if is_fortran else "C")


def make_scalar(dtype: Any, data: Any) -> Any:
    return make_array(data, dtype, (), "C")[()]


def make_dict(pairs: Iterable[Tuple[Any, Any]] = ()) -> Dict[Any, Any]:
    pairs = [(key, value) for key, value in pairs]
    if {type(key) for key, _ in pairs} - KEY_TYPES:
        refuse()
    return dict(pairs)


NDARRAY = Name(refuse)
NAMES = {
    ("__builtin__", "bytes"): Name(bytes_of_none),
    ("_codecs", "encode"): Name(make_bytes),
    ("collections", "OrderedDict"): Name(make_dict),
    ("numpy", "dtype"): Name(make_type),
    ("numpy", "ndarray"): NDARRAY,
}
for core in ("core", "_core"):
    NAMES[f"numpy.{core}.multiarray", "_reconstruct"] = Name(make_array_later)
    NAMES[f"numpy.{core}.multiarray", "scalar"] = Name(make_scalar)
    NAMES[f"numpy.{core}.numeric", "_frombuffer"] = Name(make_array)

# Instructions that are Python's own, of all protocols.
VALUES = (
    *("MARK", "STOP", "PROTO", "FRAME", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("EMPTY_DICT", "EMPTY_LIST", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL"),  # which ask find_class
)
CODES = [getattr(pickle, name)[0] for name in VALUES]


# Python's reader that is written in Python; types do not have it.
PythonUnpickler: Any = pickle._Unpickler


class _Reader(PythonUnpickler):
    """Python's reader with fewer instructions, of which those that call and set are ours."""

    def find_class(self, module: str, name: str) -> Name:
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"it wants '{module}.{name}'")
        return NAMES[module, name]

    def call(self) -> None:
        arguments, name = self.stack.pop(), self.stack[-1]
        if type(name) is not Name or type(arguments) is not tuple:
            refuse()
        self.stack[-1] = name.build(*arguments)

    def finish(self) -> None:
        state, unfinished = self.stack.pop(), self.stack[-1]
        if type(unfinished) is not Unfinished or type(state) is not tuple:
            refuse()
        self.stack[-1] = finished = unfinished.finish(*state)
        for key in reversed(self.memo):  # it was named shortly before
            if self.memo[key] is unfinished:
                self.memo[key] = finished
                break

    def add_to_dict(self, items: Sequence[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            refuse()
        self.stack[-1].update(make_dict(zip(items[::2], items[1::2])))

    def add_to_list(self, items: Sequence[Any]) -> None:
        if type(self.stack[-1]) is not list:
            refuse()
        self.stack[-1].extend(items)

    def new_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self.add_to_dict(items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.add_to_dict([key, value])

    dispatch = {
        **dict.fromkeys(range(256), refuse),
        **{code: PythonUnpickler.dispatch[code] for code in CODES},
        pickle.REDUCE[0]: call,
        pickle.BUILD[0]: finish,
        pickle.DICT[0]: new_dict,
        pickle.SETITEM[0]: set_item,
        pickle.SETITEMS[0]: lambda self: self.add_to_dict(self.pop_mark()),
        pickle.APPEND[0]: lambda self: self.add_to_list([self.stack.pop()]),
        pickle.APPENDS[0]: lambda self: self.add_to_list(self.pop_mark()),
        # Python's own takes the memory before it sees that there are so many bytes.
        pickle.BYTEARRAY8[0]: PythonUnpickler.load_binbytes8,
    }
