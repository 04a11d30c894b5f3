"""Threads that help the editor's threads to compute."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gesso.editor import workers
from gesso.editor.rendering import Renderer
from gesso.synthesis.synthesizer import Synthesizer
from styled import scene

TASKS = Path("/proc/self/task")
needs_libgomp = pytest.mark.skipif(
    not workers._pausing() or not TASKS.exists(), reason="PyTorch computes with another library than libgomp here"
)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    workers.release_workers()
    torch.set_num_threads(before)


def compute() -> None:
    (torch.ones(2**20) + 1).mul_(2).exp_()


def tasks() -> int:
    """Threads of this process, those of libraries included."""
    return len(os.listdir(TASKS))


@needs_libgomp
@pytest.mark.usefixtures("two_threads")
def test_what_helped_is_given_back_and_comes_again() -> None:
    found: list[int] = []

    def work() -> None:
        found.append(tasks())
        for _ in range(2):
            compute()
            found.append(tasks())
            workers.release_workers()
            found.append(tasks())

    workers.release_workers()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    alone = found[0]
    assert found == [alone, alone + 1, alone, alone + 1, alone]


@needs_libgomp
@pytest.mark.usefixtures("two_threads")
def test_the_renderer_leaves_no_helpers_behind(synthesizer: Synthesizer) -> None:
    renderer = Renderer(synthesizer)
    workers.release_workers()
    found: list[int] = []

    def work() -> None:
        found.append(tasks())
        with renderer.turn():
            compute()
            found.append(tasks())
        found.append(tasks())
        renderer.render(scene()[0])
        found.append(tasks())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [found[0], found[0] + 1, found[0], found[0]]


def test_where_there_is_no_libgomp_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = tmp_path / "maps"
    monkeypatch.setattr(workers, "MAPS", maps)
    assert workers._pausing.__wrapped__() == ()
    maps.write_text("7f00-7f01 r-xp 00000000 00:00 0 /usr/lib/libomp.so\n")
    assert workers._pausing.__wrapped__() == ()
    maps.write_text("7f00-7f01 r-xp 00000000 00:00 0 /nowhere/libgomp.so.1\n")
    assert workers._pausing.__wrapped__() == ()
