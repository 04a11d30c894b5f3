"""The official file of clusters: read whole, and never a door for code."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gesso.errors import ModelFileError
from gesso.importers.clusters import LARGEST_FILE, read_clusters

CENTRES = {
    7: np.array([[0.25, -0.5, 1.0], [-1.0, 0.125, 0.75]], dtype=np.float32),
    26: np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3),
}


def npy(pickled: bytes) -> bytes:
    """A .npy file as numpy writes it for one object."""
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + pickled


def saved(path: Path, document: object) -> Path:
    one = np.empty((), dtype=object)
    one[()] = document
    np.save(path, one, allow_pickle=True)
    return path


def equal(found: dict[int, Any], wanted: dict[int, Any]) -> bool:
    return list(found) == sorted(wanted) and all(
        f.dtype == np.float32 and np.array_equal(f, np.asarray(wanted[key], np.float32)) for key, f in found.items()
    )


# -------------------------------------------------------------------------------------------------- files that are good


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_saves(tmp_path: Path, dtype: str, order: Any) -> None:
    given_ = {key: np.asarray(value, dtype, order=order) for key, value in CENTRES.items()}
    found = read_clusters(saved(tmp_path / "clusters.npy", given_))
    assert equal(found, given_)
    assert equal(found, np.load(tmp_path / "clusters.npy", allow_pickle=True).item())


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_old_and_new_names_of_numpy(tmp_path: Path, module: str, protocol: int) -> None:
    old, new = b"numpy._core.multiarray", module.encode()
    pickled = pickle.dumps(np.array(CENTRES, dtype=object), protocol=protocol)
    if protocol == 4:  # texts with their length before them, in a frame whose length counts them
        frame = struct.pack("<Q", len(pickled) - 11 + len(new) - len(old))
        pickled = (
            pickled[:3]
            + frame
            + pickled[11:].replace(b"\x8c" + bytes([len(old)]) + old, b"\x8c" + bytes([len(new)]) + new)
        )
    else:
        pickled = pickled.replace(old, new)
    assert new in pickled
    path = tmp_path / "clusters.npy"
    path.write_bytes(npy(pickled))
    assert equal(read_clusters(path), CENTRES)


class Python2(pickle._Pickler):
    """Texts and bytes are both `str` in Python 2: bytes with their length before them."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_bytes_of_2(self, value: bytes | str) -> None:
        raw = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(b"T" + struct.pack("<i", len(raw)) + raw if len(raw) > 255 else b"U" + bytes([len(raw)]) + raw)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_bytes_of_2


@pytest.mark.parametrize("protocol", [1, 2])
def test_what_python_2_saved(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "clusters.npy"
    with path.open("wb") as file:
        file.write(npy(b""))
        Python2(file, protocol=protocol).dump(
            np.array({7: CENTRES[7], np.int64(26): CENTRES[26].astype("f8")}, dtype=object)
        )
    content = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(content)
    assert b"C\x04" not in content and b"U" in content
    assert equal(read_clusters(path), {7: CENTRES[7], 26: CENTRES[26].astype("f8")})
    assert equal(read_clusters(path), np.load(path, allow_pickle=True, encoding="latin1").item())


def test_class_ids_may_be_numbers_of_numpy(tmp_path: Path) -> None:
    assert equal(read_clusters(saved(tmp_path / "c.npy", {np.int64(7): CENTRES[7], np.uint8(3): CENTRES[7]})), {
        3: CENTRES[7], 7: CENTRES[7],
    })  # fmt: skip


# --------------------------------------------------------------------------------------- files that are something else


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "holds no class"),
        ([CENTRES[7]], "holds no dict"),
        ("clusters", "holds no dict"),
        ({"car": CENTRES[7]}, "a key of type str is not the id of a class"),
        ({True: CENTRES[7]}, "a key of type bool is not the id of a class"),
        ({1.0: CENTRES[7]}, "a key of type float is not the id of a class"),
        ({7: CENTRES[7].tolist()}, r"class 7 has no array of \(clusters, features\)"),
        ({7: CENTRES[7][0]}, r"class 7 has no array of \(clusters, features\)"),
        ({7: CENTRES[7][None]}, "an array in it is damaged"),
        ({7: CENTRES[7][:0]}, r"class 7 has no array of \(clusters, features\)"),
        ({7: np.ones((2, 3), int)}, r"class 7 has no array of \(clusters, features\)"),
        ({7: np.ones((2, 3), bool)}, "'b1', which are not numbers"),
        ({7: np.ones((2, 3), complex)}, "'c16', which are not numbers"),
        ({7: np.array([["a", "b"]])}, "'U1', which are not numbers"),
        ({7: np.zeros((2, 3), [("x", "f4")])}, "'V4', which are not numbers"),
        ({7: np.array([[None, {}]])}, r"class 7 has no array of \(clusters, features\)"),
        ({7: np.full((2, 3), np.nan)}, "class 7 has values that are not finite"),
        ({7: np.full((2, 3), 1e300)}, "class 7 has values that are not finite"),
        ({7: {7: CENTRES[7]}}, r"class 7 has no array of \(clusters, features\)"),
        ({np.float64(7): CENTRES[7]}, "a class id in it is not an integer"),
        ({2**20000: [1]}, "cannot be taken as clusters"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, document: object, said: str) -> None:
    with pytest.raises(ModelFileError, match=said) as caught:
        read_clusters(saved(tmp_path / "other.npy", document))
    assert "other.npy" in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npy"
    np.save(path, CENTRES[7])
    with pytest.raises(ModelFileError, match="an array of float32 and shape"):
        read_clusters(path)
    np.save(path, np.array([CENTRES, CENTRES], dtype=object), allow_pickle=True)
    with pytest.raises(ModelFileError, match=r"an array of object and shape \(2,\)"):
        read_clusters(path)
    path.write_bytes(b"\0" * (LARGEST_FILE + 1))
    with pytest.raises(ModelFileError, match=rf"{LARGEST_FILE + 1} bytes"):
        read_clusters(path)
    with pytest.raises(ModelFileError, match="There is no file"):
        read_clusters(tmp_path / "absent.npy")


# ------------------------------------------------------------------------------------------------ files that are attacks


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


NAMED = {  # by what the refusal must name
    f"{os.name}.system": (os.system, "touch canary"),
    "builtins.eval": (eval, "open('canary', 'w')"),
    "builtins.exec": (exec, "open('canary', 'w')"),
    "builtins.getattr": (getattr, "text", "upper"),
    "numpy.load": (np.load, "canary"),
    "numpy.loadtxt": (np.loadtxt, "canary"),
    "_pickle.loads": (pickle.loads, b"cposix\nsystem\n(S'touch canary'\ntR."),
    "numpy.testing._private.utils.runstring": (np.testing._private.utils.runstring, "open('canary', 'w')", {}),
    "numpy.fromfile": (np.fromfile, "canary"),
    "numpy.array": (np.array, [1]),
}
WRAPPED: dict[str, Callable[[object], object]] = {
    "alone": lambda evil: evil,
    "value": lambda evil: {7: CENTRES[7], 8: evil},
    "key": lambda evil: {evil: CENTRES[7]},
    "nested": lambda evil: {7: CENTRES[7], 8: {1: [(evil,)]}},
    "in an array": lambda evil: {7: np.array([[evil]], dtype=object)},
}


@pytest.mark.parametrize("place", WRAPPED)
@pytest.mark.parametrize("name", NAMED)
def test_functions_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    function, *arguments = NAMED[name]
    path = saved(tmp_path / "evil.npy", WRAPPED[place](Calls(function, *arguments)))
    with pytest.raises(ModelFileError, match=rf"evil\.npy cannot be taken as clusters: it asks for {name}, which may"):
        read_clusters(path)
    assert not (tmp_path / "canary").exists()


DTYPE = b"cnumpy\ndtype\n"
BLANK = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"  # an array still to be filled
TWICE = "uses a tuple, list or dict twice"
F4 = DTYPE + b"(U\x02f4I00\nI01\ntR(I3\nU\x01<NNNI-1\nI-1\nI0\ntb"  # dtype("<f4")
RAW = {  # pickles that numpy never writes: what they contain after the start of a dict entry, and what is said of them
    "an instance": (b"(U\x0ctouch canaryiposix\nsystem\n", "INST"),
    "an object": (b"(cposix\nsystem\nU\x0ctouch canaryo", "OBJ"),
    "a class of numpy": (DTYPE + b"(U\x02f4t\x81", "NEWOBJ"),
    "an extension": (b"\x82\x01", "EXT1"),
    "a persistent id": (b"Pcanary\n", "PERSID"),
    "f2py": (b"cnumpy.f2py\nmain\n)R", r"asks for numpy\.f2py\.main"),
    "a dotted name": (b"\x8c\x05numpy\x8c\x0ddtype.__new__\x93)R", r"asks for numpy\.dtype\.__new__"),
    "an altered function": (DTYPE + b"}U\x04makecposix\nsystem\nsb", "asks for posix.system"),
    "an altered type": (DTYPE + b"}U\x05_makeI1\nsb", "alters a function"),
    "altered slots": (DTYPE + b"N}U\x05_makeI1\ns\x86b", "alters a function"),
    "a state of attributes": (F4 + b"}U\x05orderU\x01<sb", "cannot be taken"),
    "an array made by its class": (b"cnumpy\nndarray\n((I1000000\nI1000000\ntt" + b"R", "another way than numpy does"),
    "a called number": (b"I1\n)R", "cannot be taken"),
    "much memory": (b"I1\nr\xff\xff\xff\x7f", "reserves 2147483647 places"),
    "much memory in text": (b"I1\np99999999999\n", "reserves 99999999999 places"),
    "many bytes": (b"B\xff\xff\xff\x7f", "cannot be taken"),
    "a key of tuples twice in each other": (b"\x85".join([b"}I1\n", b"2\x86" * 60]) + b"I1\ns", "uses DUP"),
    "a tuple that is read again": (
        b"}(S'a'\ntp0\n" + b"".join(b"(g%d\ng%d\ntp%d\n" % (n, n, n + 1) for n in range(60)) + b"I1\ns", TWICE),
    "the same by memory": (b"}I1\n\x85q\x00h\x00\x86" + b"q\x00h\x00\x86" * 60 + b"I1\ns", TWICE),
    "the same without its number": (b"}I1\n\x85\x94h\x00\x86" + b"I1\ns", TWICE),
    "the same after a state": (b"}I1\n\x85Nbq\x00h\x00\x86" + b"I1\ns", TWICE),
    "the same after nothing appended": (b"}I1\n\x85(eq\x00h\x00\x86" + b"I1\ns", TWICE),
    "the same twice remembered": (b"}I1\n\x85q\x00q\x01h\x01\x86" + b"I1\ns", TWICE),
    "lists as a type": (DTYPE + b"(]q\x00h\x00etR", TWICE),
    "a type that is no text": (DTYPE + b"(I1\ntR", "an array in it is damaged"),
    "tuples in tuples": (b"}I1\n" + b"\x85" * 20_000 + b"I1\ns", "more than 50000 steps or 10000 tuples"),
    "many keys": (b"}(" + b"K\x01K\x01" * 30_000 + b"u", "more than 50000 steps"),
    "a key of tuples": (b"}" + b"I1\n" + b"\x85" * 9_000 + b"I1\ns", "something other than one dict"),
    "a huge shape": (BLANK + b"(I1\n(I1000000\nI1000000\nt" + F4 + b"I00\nU\x04abcdtb", "cannot"),
    "a negative shape": (BLANK + b"(I1\n(I-1\nI1\nt" + F4 + b"I00\nU\x04abcdtb", "is damaged"),
    "many dimensions": (BLANK + b"(I1\n(" + b"I1\n" * 99 + b"t" + F4 + b"I00\nU\x04abcdtb", "is damaged"),
    "a structure": (DTYPE + b"(U\x02f4I00\nI01\ntR(I3\nU\x01|NU\x01x}I8\nI1\nI0\ntb", "an array of structures"),
    "a byte order": (DTYPE + b"(U\x02f4I00\nI01\ntR(I3\nU\x022iNNNI8\nI1\nI0\ntb", "an array of structures"),
}  # fmt: skip


@pytest.mark.parametrize("attack", RAW)
def test_pickles_that_numpy_never_writes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    monkeypatch.chdir(tmp_path)
    body, said = RAW[attack]
    path = tmp_path / "evil.npy"
    path.write_bytes(npy(b"\x80\x02}I7\n" + body + b"s."))
    with pytest.raises(ModelFileError, match=said):
        read_clusters(path)
    assert not (tmp_path / "canary").exists()
    assert equal(read_clusters(saved(tmp_path / "good.npy", CENTRES)), CENTRES), "the attack left nothing behind"


def test_the_attacks_work_on_a_reader_without_restrictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is refused above is not harmless anyway."""
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "evil.npy", {7: Calls(eval, "open('canary', 'w').close()")})
    np.load(path, allow_pickle=True)
    assert (tmp_path / "canary").exists()


WATCHED = {"exec", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "import", "pickle.find_class", "open"}
_seen: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event in WATCHED:
        _seen.append(f"{event} {arguments[0] if arguments else ''}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """What Python does inside that a reader of numbers has no business with."""
    global _seen
    if not hasattr(_watch, "installed"):
        sys.addaudithook(_watch)  # there is no way to take one out again, hence the switch
        _watch.installed = True  # type: ignore[attr-defined]
    _seen = []
    try:
        yield _seen
    finally:
        _seen = None


def test_the_watch_sees_code_that_is_run() -> None:
    with watched() as seen:
        pickle.loads(b"cbuiltins\neval\n(U\x011tR.")
    assert any("find_class" in event for event in seen) and any("exec" in event for event in seen)


CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, cut=st.integers(0, 40), start=st.sampled_from([0, 128]))
def test_damaged_files_never_run_code_nor_fail_in_another_way(
    tmp_path: Path, changes: list[tuple[int, int, bool]], cut: int, start: int
) -> None:
    path = saved(tmp_path / "clusters.npy", CENTRES)
    read_clusters(path)
    "".encode("raw_unicode_escape"), "".encode("unicode_escape")  # Python imports these when it first meets them
    content = bytearray(path.read_bytes())
    for place, value, insert in changes:
        at = start + place % (len(content) - start)
        content[at : at + (not insert)] = bytes([value])
    path.write_bytes(content[: len(content) - cut])
    with watched() as seen:
        try:
            found = read_clusters(path)
        except ModelFileError as error:
            assert "clusters.npy" in str(error)
        else:
            assert all(isinstance(k, int) and v.ndim == 2 and np.isfinite(v).all() for k, v in found.items())
    assert seen == [f"open {path}"]
