"""Synchronised batch norm: two processes compute what one computes on the joint batch.

Run as a program, this file is one of the two processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gesso.networks.spade import SpadeGenerator, initialise
from gesso.networks.sync_norm import SyncBatchNorm2d, processes

pytestmark = pytest.mark.usefixtures("one_thread")

CASES: dict[str, dict[str, Any]] = {
    "float32": {"dtype": torch.float32, "split": (2, 2)},
    "float64": {"dtype": torch.float64, "split": (2, 2)},
    "uneven": {"dtype": torch.float32, "split": (1, 3)},
    "uneven-float64": {"dtype": torch.float64, "split": (1, 3)},
    "affine": {"dtype": torch.float32, "split": (3, 1), "affine": True},
    "cumulative": {"dtype": torch.float64, "split": (2, 2), "momentum": None},
    "far from zero": {"dtype": torch.float32, "split": (2, 2), "offset": 1000.0},
    "single pixels": {"dtype": torch.float64, "split": (1, 1), "size": (1, 1)},
}
FORWARDS = 2
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def data(case: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The joint batch, and what its output is weighed by in the loss."""
    random = torch.Generator().manual_seed(3)
    shape = (sum(case["split"]), 5, *case.get("size", (6, 7)))
    x = torch.randn(FORWARDS, *shape, generator=random, dtype=torch.float64) + case.get("offset", 0.0)
    weight = torch.randn(*shape, generator=random, dtype=torch.float64)
    return x.to(case["dtype"]), weight.to(case["dtype"])


def results(norm: nn.BatchNorm2d, case: dict[str, Any], share: slice) -> dict[str, Tensor]:
    """Output, gradients and statistics after forwards in train mode; then the output in eval mode."""
    batches, weight = data(case)
    norm.to(case["dtype"]).train()
    found: dict[str, Tensor] = {}
    for batch in batches:
        x = batch[share].clone().requires_grad_()
        y = norm(x)
        (y * weight[share]).sum().backward()
        assert x.grad is not None
        found |= {"y": y.detach(), "x gradient": x.grad}
    found |= {f"{name} gradient": p.grad for name, p in norm.named_parameters() if p.grad is not None}
    found |= {name: buffer.clone() for name, buffer in norm.named_buffers()}
    return found | {"eval": norm.eval()(batches[0][share])}


def build(kind: type[nn.BatchNorm2d], case: dict[str, Any]) -> nn.BatchNorm2d:
    norm = kind(5, affine=case.get("affine", False), momentum=case.get("momentum", 0.1))
    for number, parameter in enumerate(norm.parameters()):
        nn.init.constant_(parameter, 0.5 + number)
    return norm


def generator_results(share: slice, together: bool) -> dict[str, Tensor]:
    """Gradients of a generator whose loss is a mean over the batch, as distributed training averages them."""
    torch.manual_seed(5)
    network = initialise(SpadeGenerator(in_channels=3, width=1, hidden=4, norm="sync_batch"), gain=1.0).double()
    layout = torch.rand(2, 3, 32, 64, dtype=torch.float64)
    run = DistributedDataParallel(network) if together else network  # has to outlive the backward pass
    run(layout[share]).square().mean().backward()
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return found | {name: buffer.clone() for name, buffer in network.named_buffers() if "running" in name}


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    assert processes() == 2
    for name, case in CASES.items():
        first = case["split"][0]
        share = slice(first) if rank == 0 else slice(first, None)
        save_file(results(build(SyncBatchNorm2d, case), case, share), folder / f"{name}-{rank}.safetensors")
    if rank == 0:  # the other one is not there to be asked
        norm = build(SyncBatchNorm2d, CASES["float64"])
        norm.alone = True  # type: ignore[assignment]
        save_file(results(norm, CASES["float64"], slice(None)), folder / "alone.safetensors")
    save_file(generator_results(slice(rank, rank + 1), True), folder / f"generator-{rank}.safetensors")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sync-norm")
    command, environment = (
        [sys.executable, __file__],
        {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    started = [
        subprocess.Popen(
            [*command, str(rank), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in (0, 1)
    ]
    try:
        for process in started:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, said[-4000:]
    except subprocess.TimeoutExpired:
        pytest.fail("two processes were not done after 120 s: one waits for the other")
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one_with_the_joint_batch(together: Path, name: str) -> None:
    case = CASES[name]
    alone = results(build(nn.BatchNorm2d, case), case, slice(None))
    parts = [load_file(together / f"{name}-{rank}.safetensors") for rank in (0, 1)]
    assert parts[0].keys() == parts[1].keys() == alone.keys()
    for key, expected in alone.items():
        first, second = (part[key] for part in parts)
        if key in ("y", "x gradient", "eval"):
            ours = torch.cat([first, second])
        elif key.endswith("gradient"):
            ours = first + second
        else:
            assert torch.equal(first, second), key
            ours = first
        scale = max(1.0, expected.abs().max().item()) if "running" in key else 1.0
        tolerance = TOLERANCE[case["dtype"]] * scale * (100 if "offset" in case else 1)  # 1000 has few digits left
        assert ours.dtype == expected.dtype
        assert (ours.double() - expected.double()).abs().max().item() <= tolerance, key


def test_distributed_training_of_a_generator(together: Path) -> None:
    alone = generator_results(slice(None), False)
    for rank in (0, 1):
        both = load_file(together / f"generator-{rank}.safetensors")
        assert both.keys() == alone.keys()
        for key, expected in alone.items():
            torch.testing.assert_close(both[key], expected, rtol=1e-8, atol=1e-10, msg=key)


def test_alone_it_asks_nobody(together: Path) -> None:
    case = CASES["float64"]
    expected = results(build(nn.BatchNorm2d, case), case, slice(None))
    ours = load_file(together / "alone.safetensors")
    assert all(torch.equal(ours[key], expected[key]) for key in expected)


def test_one_process_gives_plain_batch_norm() -> None:
    for case in CASES.values():
        if case.get("size") != (1, 1):
            ours, theirs = (results(build(kind, case), case, slice(None)) for kind in (SyncBatchNorm2d, nn.BatchNorm2d))
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
