"""Threads that help the editor's threads to compute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gesso.editor import workers
from gesso.editor.rendering import Renderer
from gesso.editor.server import create_app
from gesso.synthesis.synthesizer import Synthesizer
from styled import scene

TASKS = Path("/proc/self/task")


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Skips where PyTorch computes without libgomp, or libgomp may start no helper."""
    if workers._pausing(torch._C.__file__) is None:
        pytest.skip("PyTorch computes with another library than libgomp here")
    if {"OMP_THREAD_LIMIT", "OMP_DYNAMIC"} & set(os.environ):
        pytest.skip("the environment limits OpenMP's threads")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    workers.release_workers()
    torch.set_num_threads(before)


def helpers_of(work: Callable[[], None]) -> set[str]:
    """The system's numbers of the threads that appear while something is computed for the second time, and stay."""
    work()
    workers.release_workers()
    time.sleep(0.2)  # what was released may still be seen for a moment
    before = set(os.listdir(TASKS))
    work()
    return set(os.listdir(TASKS)) - before


def are_gone(helpers: set[str]) -> bool:
    """Within a while: the system still lists for a moment what has ended."""
    for _ in range(100):
        if helpers.isdisjoint(os.listdir(TASKS)):
            return True
        time.sleep(0.05)
    return False


def compute() -> None:
    (torch.ones(2**20) + 1).mul_(2).exp_()


def in_a_thread(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


@pytest.mark.usefixtures("two_threads")
def test_what_helped_is_given_back_and_comes_again() -> None:
    def work() -> None:
        for _ in range(2):
            helpers = helpers_of(compute)
            assert helpers
            workers.release_workers()
            assert are_gone(helpers)

    in_a_thread(work)


@pytest.mark.usefixtures("two_threads")
def test_the_renderer_leaves_no_helpers_behind(synthesizer: Synthesizer) -> None:
    renderer = Renderer(synthesizer)

    def work() -> None:
        with renderer.turn():
            helpers = helpers_of(compute)
            assert helpers
        assert are_gone(helpers)
        assert are_gone(helpers_of(lambda: renderer.render(scene()[0]) and None))

    in_a_thread(work)


@pytest.mark.usefixtures("two_threads")
def test_an_editor_begins_without_helpers_of_the_thread_that_read_the_model(synthesizer: Synthesizer) -> None:
    def work() -> None:
        helpers = helpers_of(compute)
        assert helpers
        create_app(synthesizer)
        assert are_gone(helpers)

    in_a_thread(work)


def test_where_there_is_no_libgomp_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers._pausing.__wrapped__(str(tmp_path / "nothing.so")) is None
    bound = SimpleNamespace(omp_pause_resource_all=print)
    monkeypatch.setattr(workers.ctypes, "CDLL", lambda _: bound)
    assert workers._pausing.__wrapped__("another OpenMP") is None
    bound = SimpleNamespace(GOACC_parallel_keyed=print)
    assert workers._pausing.__wrapped__("an old libgomp") is None
    monkeypatch.setattr(workers.sys, "platform", "darwin")
    bound = SimpleNamespace(GOACC_parallel_keyed=print, omp_pause_resource_all=print)
    assert workers._pausing.__wrapped__("another system") is None
