"""Segmenters that are kept: trained once, with scores on the photographs at hand, by one process at a time."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gesso.data import layouts
from gesso.data.dataset import SemanticDataset
from gesso.data.preprocessing import Preprocessing
from gesso.data.spaces import published
from gesso.errors import TrainingError
from gesso.segmenter_training import SegmenterSettings, cache, cached_segmenter, data_digest, held_out, train_segmenter
from gesso.segmenter_training.held_out import held_out_scores
from gesso.segmenter_training.locking import alone
from gesso.segmenter_training.photographs import Photographs, held_out_digest
from gesso.synthesis.segmenter import SegmenterInfo, TrainedSegmenter, load_segmenter

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = published("toy")
FEW = SegmenterSettings(steps=8, batch=2, width=4)
Make = Callable[..., SemanticDataset]


@pytest.fixture
def dataset(tiny_dataset: Path) -> Make:
    def make(split: str = "train", first: int = 0) -> SemanticDataset:
        samples = layouts.find(tiny_dataset, split, "camvid").samples[first:]
        return SemanticDataset(samples, SPACE, Preprocessing(), training=split == "train")

    return make


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path))
    return tmp_path / "segmenters"


def info_of(segmenter: TrainedSegmenter) -> SegmenterInfo:
    assert segmenter.info is not None
    return segmenter.info


# --- trained once ---


def test_trained_once_for_the_same_data(dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path))
    first = cached_segmenter(dataset(), dataset("val"), FEW, "cpu", origin="one")
    path = tmp_path / "segmenters" / f"{data_digest(dataset(), FEW)}.safetensors"
    written = path.stat().st_mtime_ns
    again = cached_segmenter(dataset(), dataset("val"), FEW, "cpu", origin="one")
    assert (again.hash, again.info) == (first.hash, first.info)
    assert path.stat().st_mtime_ns == written
    cached_segmenter(dataset(), None, FEW.model_copy(update={"seed": 1}), "cpu")
    assert len(list(path.parent.iterdir())) == 2


def test_a_damaged_file_in_the_cache_is_made_anew(
    dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path))
    first = cached_segmenter(dataset(), None, FEW, "cpu")
    (path,) = (tmp_path / "segmenters").iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    assert cached_segmenter(dataset(), None, FEW, "cpu").hash == first.hash
    assert load_segmenter(path).hash == first.hash


# --- scores ---


def test_scores_are_those_on_the_photographs_at_hand(dataset: Make, folder: Path) -> None:
    """Whoever trained it first had none, or others."""
    first = cached_segmenter(dataset(), None, FEW, "cpu")
    assert (info_of(first).scores, info_of(first).held_out) == ({}, 0)
    for held, name in ((dataset("val"), "one val"), (dataset("val", 1), "its last"), (dataset("val"), "one val")):
        found = cached_segmenter(dataset(), held, FEW, "cpu", held_out_origin=name)
        info = info_of(found)
        assert info.scores == held_out_scores(found, Photographs(held))
        assert info.scores
        assert (info.held_out, info.held_out_origin, info.held_out_digest) == (len(held), name, held_out_digest(held))
        (path,) = folder.iterdir()
        assert load_segmenter(path).info == info
        assert found.hash == first.hash


def test_other_photographs_have_other_scores(dataset: Make) -> None:
    both, last = (info_of(cached_segmenter(dataset(), dataset("val", n), FEW, "cpu")) for n in (0, 1))
    assert both.scores != last.scores


def test_what_the_scores_were_taken_on_has_a_name(dataset: Make, tiny_dataset: Path) -> None:
    info = info_of(cached_segmenter(dataset(), dataset("val"), FEW, "cpu"))
    assert info.held_out_origin == f"{tiny_dataset.name}/val"
    assert info_of(cached_segmenter(dataset(), None, FEW, "cpu")) == info, "nothing at hand: those that are named"


def test_scores_are_taken_once(dataset: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_segmenter(dataset(), dataset("val"), FEW, "cpu")
    monkeypatch.setattr(held_out, "held_out_scores", lambda *_: pytest.fail("taken again"))
    assert info_of(cached_segmenter(dataset(), dataset("val"), FEW, "cpu")).scores
    renamed = cached_segmenter(dataset(), dataset("val"), FEW, "cpu", held_out_origin="another name")
    assert info_of(renamed).held_out_origin == "another name"


def test_changed_photographs_are_others(dataset: Make, tmp_path: Path) -> None:
    held = dataset("val")
    before = held_out_digest(held)
    copy = tmp_path / Path(str(held.samples[0].image)).name
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(copy)
    sample = type(held.samples[0])(held.samples[0].name, image=copy, label=held.samples[0].label)
    changed = SemanticDataset([sample, *held.samples[1:]], SPACE, Preprocessing(), training=False)
    assert held_out_digest(changed) != before


# --- one process at a time ---


def test_one_that_is_there_needs_no_lock(dataset: Make, folder: Path) -> None:
    """A cache that is only to be read, or one whose segmenter another process trains on."""
    cached_segmenter(dataset(), dataset("val"), FEW, "cpu")
    (path,) = folder.iterdir()
    with alone(path, "it"):
        assert info_of(cached_segmenter(dataset(), dataset("val"), FEW, "cpu")).scores


@pytest.mark.long
def test_two_processes_train_it_once(dataset: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits, says for whom, and takes what the first made."""
    began, original = threading.Event(), cache.trained
    calls: list[int] = []

    def slow(*arguments: object) -> TrainedSegmenter:
        calls.append(1)
        began.set()
        time.sleep(1.0)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "trained", slow)
    hashes: list[str] = []
    first = threading.Thread(target=lambda: hashes.append(cached_segmenter(dataset(), None, FEW, "cpu").hash))
    first.start()
    assert began.wait(20)
    console = Console(file=(text := io.StringIO()), width=100)
    second = cached_segmenter(dataset(), dataset("val"), FEW, "cpu", console, origin="toy train")
    first.join()
    assert calls == [1]
    assert hashes == [second.hash]
    assert info_of(second).scores
    said = text.getvalue()
    assert said.startswith(f"The segmenter toy train is in the works by process {os.getpid()} on ")
    assert said.count("waiting for it") == 1
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]


def test_one_file_is_trained_by_one_at_a_time(dataset: Make, tmp_path: Path) -> None:
    out, ended = tmp_path / "s.safetensors", []
    console = Console(file=(text := io.StringIO()), width=100)
    work = threading.Thread(
        target=lambda: ended.append(
            train_segmenter(dataset(), None, out, settings=FEW, device="cpu", console=console).hash
        )
    )
    with alone(out, "it"):
        work.start()
        deadline = time.monotonic() + 20
        while "waiting" not in text.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not ended
        assert not out.exists()
    work.join()
    assert ended == [load_segmenter(out).hash]


HOLDER = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
os.write(handle, b"process 77 on another machine")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_is_waited_for_until_it_is_killed(tmp_path: Path) -> None:
    """What it leaves behind holds nobody up."""
    pytest.importorskip("fcntl")
    lock, entered = tmp_path / ".s.safetensors.lock", threading.Event()
    console = Console(file=(text := io.StringIO()), width=100)

    def work() -> None:
        with alone(tmp_path / "s.safetensors", "The segmenter", console):
            entered.set()

    with subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        thread = threading.Thread(target=work)
        thread.start()
        assert not entered.wait(0.7)
        holder.kill()
    assert entered.wait(20)
    thread.join()
    expected = "The segmenter is in the works by process 77 on another machine: waiting for it.\n"
    assert text.getvalue() == expected
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_behind_is_taken_over_at_once(tmp_path: Path) -> None:
    lock = tmp_path / ".s.safetensors.lock"
    lock.write_text("process 77 on this machine, which ended long ago")
    console = Console(file=(text := io.StringIO()))
    with alone(tmp_path / "s.safetensors", "it", console):
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
    assert text.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_many_take_turns(tmp_path: Path) -> None:
    """Also while the file of the lock is removed and made again."""
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(3):
            with alone(tmp_path / "s", "it"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone(tmp_path / "s", "it"):
        1 / 0  # noqa: B018
    with alone(tmp_path / "s", "it"):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match=r"s\.lock could not be written"), alone(tmp_path / "file" / "s", "it"):
        pass
