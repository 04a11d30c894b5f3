"""Two processes train as one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import training_script
from training_script import TOGETHER, final_weights

pytestmark = pytest.mark.usefixtures("one_thread")

LIMIT = 180  # seconds for what takes 15 on two quiet cores


@pytest.fixture(scope="module")
def together(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left their weights. With 7 samples in batches of 4, the time limit is the test against hanging."""
    out = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    started = subprocess.Popen(
        [*command, training_script.__file__, "together", str(tiny_dataset), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = started.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        started.terminate()  # torchrun ends its workers, each of which has a session of its own
        try:
            said, _ = started.communicate(timeout=60)
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
        begun = sorted(path.name for path in out.iterdir() if path.is_dir())
        pytest.fail(
            f"two processes were not done after {LIMIT} s, with {begun} begun: one waits for the other. {said[-2000:]}"
        )
    assert started.returncode == 0, said[-4000:]
    return out


@pytest.fixture
def double() -> Iterator[None]:
    """Everything in float64.

    Biases before a normalisation have a true gradient of zero; Adam makes steps of some 1e-10 of its rounding errors. They count
    in the norm over all weights, but are not compared one by one.
    """
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.long
@pytest.mark.parametrize("name", TOGETHER)
def test_both_ranks_end_with_equal_weights(together: Path, name: str) -> None:
    first, second = (load_file(together / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.long
@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.usefixtures("double")
def test_two_processes_match_one(together: Path, tiny_dataset: Path, tmp_path: Path, name: str) -> None:
    both = load_file(together / f"{name}-0.safetensors")
    alone = final_weights(tiny_dataset, tmp_path / "run", **TOGETHER[name])
    assert both.keys() == alone.keys()
    assert {value.dtype for value in alone.values()} == {torch.float64}
    keys = sorted(alone)
    assert gap([both[key] for key in keys], [alone[key] for key in keys]) <= 1e-9
    for key in (key for key in keys if key.endswith("weight")):
        assert gap([both[key]], [alone[key]]) <= 1e-12, key


def gap(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Norm of the difference over the norm of all."""
    one, other = (torch.cat([tensor.flatten() for tensor in tensors]) for tensors in (ours, theirs))
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.long
def test_only_the_first_process_writes(together: Path) -> None:
    run = together / "plain"
    assert len(list(run.glob("events.*"))) == 2  # one per attempt
    assert (run / "model.safetensors").is_file()


@pytest.mark.long
def test_batch_norm_with_buffers_does_not_hang_while_one_process_draws_samples(together: Path) -> None:
    assert (together / "batch-norm" / "samples" / "val-00000002.png").is_file()
    assert (together / "batch-norm" / "model.safetensors").is_file()


@pytest.mark.long
def test_spade_with_averaged_weights_does_not_hang_while_one_process_measures_for_them(together: Path) -> None:
    """Every second step the first process runs the generator in train mode, over sync_batch, while the other one goes on.

    Each process has one picture of a single coarse pixel: with both together there is something to normalise, also when memory
    is rehearsed before they have met.
    """
    run = together / "spade"
    assert {path.name for path in (run / "samples").glob("val-*")} == {f"val-{step:08d}.png" for step in (0, 2, 4)}
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert {1, 2, 3, 4} <= set(steps)
    statistics = {name: t for name, t in load_file(run / "model.safetensors").items() if name.endswith("running_var")}
    assert statistics and all(t.isfinite().all() for t in statistics.values())
