"""Clusters of pix2pixHD's official code (features_clustered_010.npy), read without running anything that is pickled in them.

numpy keeps a dict of arrays as a pickle, and a pickle may name any function and have it called. Here the names are looked up in
one small table, and what they stand for are classes of this file that can only hold numbers: neither numpy nor anything else is
called with what the file says.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gesso.errors import ModelFileError

LARGEST_FILE = 16 * 2**20  # bytes; the official files have some thousand
FLOATS = {"f2", "f4", "f8"}
INTEGERS = {f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)}
MOST_STEPS = 50_000  # opcodes of a pickle; a class takes about 60. More keys than that could be chosen to collide
MOST_TUPLES = 10_000  # a class takes about 10; one in the other, they cannot be deeper than what hash() bears
WRITES_MEMO = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
READS_MEMO = {"GET", "BINGET", "LONG_BINGET"}
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
TEXTS = set("STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES".split())
SHARED = TEXTS | {
    "GLOBAL",
    "STACK_GLOBAL",
    "REDUCE",
}  # after these, and no others, numpy's arrays need the memory again
OPCODES = (
    WRITES_MEMO
    | READS_MEMO
    | TUPLES
    | TEXTS
    | set(  # what builds numbers, texts, tuples, lists and dicts, and calls names; no classes, no registries
        """PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS""".split()
    )
)

Floats = npt.NDArray[np.float32]


def read_clusters(path: Path) -> dict[int, Floats]:
    """Centres (K, F) of the clusters by official class id, ascending.

    Raises:
        ModelFileError: The file is missing or damaged, asks for code to be run, or does not hold finite centres by class.
    """
    if not path.is_file():
        raise ModelFileError(f"There is no file {path}.")
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise ModelFileError(f"{path} has {size} bytes; clusters have at most {LARGEST_FILE}: this is another file.")
    try:
        document = _unpickled(path.read_bytes())
        return _checked(document)
    except Exception as error:  # a damaged pickle can fail in any way
        raise ModelFileError(
            f"{path} cannot be taken as clusters: {error}. The official features_clustered_*.npy hold a dict "
            "{class id: array of (clusters, features)} and nothing else; use another copy."
        ) from None


def _unpickled(content: bytes) -> object:
    """What the array in a .npy file holds, where that is one thing: the dict."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise pickle.UnpicklingError(f"version {version} of .npy is not known")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers that Python 2 wrote
        shape, _, dtype = headers[version](file)
    if dtype != np.dtype(object) or prod(shape) != 1:
        raise pickle.UnpicklingError(f"it holds an array of {dtype} and shape {shape} instead of a dict of arrays")
    pickled = content[file.tell() :]
    _refuse_opcodes(pickled)
    array = _Reader(pickled).load()
    if not isinstance(array, _Array) or not isinstance(array.content, list) or len(array.content) != 1:
        raise pickle.UnpicklingError("it holds something other than one dict")
    return array.content[0]


def _refuse_opcodes(pickled: bytes) -> None:
    """Go through the pickle without carrying it out; also finds where it ends too early.

    No tuple may be used twice: of sixty that each hold the one before twice, hash() visits 2**60, and a dict hashes its keys.
    """
    shared: dict[int, bool] = {}  # by place in memory: whether it may be read
    before, tuples = "", 0
    for step, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
        name = opcode.name
        tuples += name in TUPLES
        if name not in OPCODES:
            raise pickle.UnpicklingError(f"it uses {name}, which no dict of arrays needs")
        if step >= MOST_STEPS or tuples > MOST_TUPLES:
            raise pickle.UnpicklingError(f"it has more than {MOST_STEPS} steps or {MOST_TUPLES} tuples")
        if name in WRITES_MEMO:
            place = len(shared) if name == "MEMOIZE" else argument
            if not isinstance(place, int) or place > len(pickled):
                raise pickle.UnpicklingError(f"it reserves {place} places in memory")
            shared[place] = before in SHARED
        elif name in READS_MEMO and not shared.get(argument):  # type: ignore[arg-type]
            raise pickle.UnpicklingError("it uses a tuple, list or dict twice, which no dict of arrays needs")
        if name != "FRAME":  # which may stand between long bytes and their place in memory
            before = name


def _checked(document: object) -> dict[int, Floats]:
    if not isinstance(document, dict) or not document:
        raise ValueError("it holds no dict" if not isinstance(document, dict) else "it holds no class")
    return {key: _centres(key, document[key]) for key in sorted(document, key=_class_id)}


def _class_id(key: object) -> int:
    if not isinstance(key, int) or isinstance(key, bool):
        raise ValueError(f"a key of type {type(key).__name__} is not the id of a class")
    return key


def _centres(key: int, value: object) -> Floats:
    array = value.content if isinstance(value, _Array) else None
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != 2 or not array.size:
        raise ValueError(f"class {key} has no array of (clusters, features)")
    with np.errstate(over="ignore"):
        centres = array.astype(np.float32)
    if not np.isfinite(centres).all():
        raise ValueError(f"class {key} has values that are not finite")
    return centres


# ------------------------------------------------------------------------------------------------ what a pickle may name


class _Reader(pickle.Unpickler):
    """Knows the names in `NAMES` and nothing else."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled), encoding="latin1")  # the arrays in pickles of Python 2 are texts

    def find_class(self, module: str, name: str, /) -> _Named:
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which may run code")
        return NAMES[module, name]


class _Named:
    """What a permitted name stands for; the pickle can call it, if there is something to be called, and nothing else."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object] | None) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        if self._make is None:
            raise pickle.UnpicklingError("it makes an array in another way than numpy does")
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it alters a function")


class _Dtype:
    """A type of numbers, as `numpy.dtype` is pickled: "f8" and its like, and then the order of the bytes."""

    __slots__ = ("kind", "order")

    def __init__(self, kind: str, *_: object) -> None:
        if not isinstance(kind, str):
            raise pickle.UnpicklingError("an array in it is damaged")
        self.kind = kind if kind in FLOATS | INTEGERS else "O" if kind in {"O", "O4", "O8"} else ""
        self.order = "="
        if not self.kind:
            raise pickle.UnpicklingError(f"it holds an array of {kind[:40]!r}, which are not numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, parts = state[1], state[2:5]
        if order not in ("<", ">", "=", "|") or any(part is not None for part in parts):
            raise pickle.UnpicklingError("it holds an array of structures")
        self.order = order

    def numbers(self, data: bytes | str) -> npt.NDArray[Any]:
        """(N,) the numbers in some bytes."""
        whole = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(whole, np.dtype(self.order + self.kind))


class _Array:
    """An array as numpy pickles it: made empty, then filled. Its content is an array of numbers, or a list of whatever."""

    __slots__ = ("content",)

    def __init__(self, *_: object) -> None:
        self.content: npt.NDArray[Any] | list[object] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, columns_first, data = state
        sides = len(shape) <= 2 and all(isinstance(side, int) and 0 <= side <= LARGEST_FILE for side in shape)
        if not isinstance(dtype, _Dtype) or not sides:
            raise pickle.UnpicklingError("an array in it is damaged")
        if dtype.kind == "O":
            if not isinstance(data, list) or len(data) != prod(shape):
                raise pickle.UnpicklingError("an array in it is damaged")
            self.content = data
        else:
            self.content = dtype.numbers(data).reshape(shape, order="F" if columns_first else "C")


def _scalar(dtype: _Dtype, data: bytes | str) -> int:
    """A class id that was one of numpy's integers."""
    if dtype.kind not in INTEGERS:
        raise pickle.UnpicklingError("a class id in it is not an integer")
    (number,) = dtype.numbers(data)
    return int(number)


NAMES = {
    ("numpy", "ndarray"): _Named(None),
    ("numpy", "dtype"): _Named(_Dtype),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Named(_Array) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Named(_scalar) for core in ("core", "_core")},
}
