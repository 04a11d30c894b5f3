"""Two processes train as one does."""

from __future__ import annotations

import os
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


@pytest.fixture(scope="module")
def together(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left their weights; with 7 samples in batches of 4 and the time limit, also the test against hanging."""
    out = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*command, training_script.__file__, "together", str(tiny_dataset), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return out


@pytest.fixture
def double() -> Iterator[None]:
    """Everything in float64, where biases before a normalisation, whose true gradient is zero, stay where they are."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", TOGETHER)
def test_both_ranks_end_with_equal_weights(together: Path, name: str) -> None:
    first, second = (load_file(together / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.usefixtures("double")
def test_two_processes_match_one(together: Path, tiny_dataset: Path, tmp_path: Path, name: str) -> None:
    both = load_file(together / f"{name}-0.safetensors")
    alone = final_weights(tiny_dataset, tmp_path / "run", **TOGETHER[name])
    assert both.keys() == alone.keys()
    for key, value in alone.items():
        assert value.dtype == torch.float64
        assert gap(both[key], value) <= 1e-9, key


def gap(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


def test_only_the_first_process_writes(together: Path) -> None:
    run = together / "plain"
    assert len(list(run.glob("events.*"))) == 2  # one per attempt
    assert (run / "model.safetensors").is_file()


def test_batch_norm_with_buffers_does_not_hang_while_one_process_draws_samples(together: Path) -> None:
    assert (together / "batch-norm" / "samples" / "val-00000002.png").is_file()
    assert (together / "batch-norm" / "model.safetensors").is_file()
