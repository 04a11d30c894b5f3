"""`gesso train --compile`: what is compiled, for which sizes, and what happens where nothing can be."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

from gesso import compiling, session
from gesso.networks.pix2pixhd import GlobalGenerator
from gesso.networks.spade import MultiscaleDiscriminator, SpadeGenerator
from gesso.recipes import pix2pixhd
from gesso.train import fit
from training_script import fit_tiny, tiny_config, tiny_data

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # Dynamo looks whether there is a gradient, and silences the answer only where warnings are no errors.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    compiling.refusal.cache_clear()
    yield
    compiling.refusal.cache_clear()
    torch.compiler.reset()


def last_state(run: Path, step: int) -> dict[str, Tensor]:
    return load_file(run / "state" / f"step-{step:08}" / "networks.safetensors")


def test_without_a_compiler_training_goes_on_without(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("No working C++ compiler found\nand a page more")

    monkeypatch.setattr(torch, "compile", fails)
    told = io.StringIO()
    config = tiny_config(compile=True)
    data, console = tiny_data(tiny_dataset, config), Console(file=told, width=300)
    fit(pix2pixhd, config, data, tmp_path / "run", device="cpu", stop_at=2, console=console)
    assert "--compile is left out: torch.compile does not work here (No working C++ compiler found)." in told.getvalue()
    fit_tiny(tiny_dataset, tmp_path / "plain", stop_at=2)
    plain = last_state(tmp_path / "plain", 2)
    assert all(torch.equal(value, plain[name]) for name, value in last_state(tmp_path / "run", 2).items())


@pytest.mark.long
def test_compiled_networks_train_alike(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the graphs of torch.compile, which are found in seconds, and without its machine code, which takes minutes."""
    compiled: list[nn.Module] = []

    def graphs_only(network: nn.Module) -> None:
        compiled.append(network)
        network.compile(backend="eager")

    monkeypatch.setattr(session, "refusal", lambda device: "")
    monkeypatch.setattr(session, "compile_in_place", graphs_only)
    fit_tiny(tiny_dataset, tmp_path / "run", stop_at=3, compile=True)
    fit_tiny(tiny_dataset, tmp_path / "plain", stop_at=3)
    assert [type(network).__name__ for network in compiled] == ["GlobalGenerator", "MultiscaleDiscriminator"]
    plain = last_state(tmp_path / "plain", 3)
    run = last_state(tmp_path / "run", 3)
    for name, value in ((n, v) for n, v in run.items() if n.endswith("weight")):  # biases before a norm are noise
        torch.testing.assert_close(value, plain[name], rtol=1e-3, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("network", ["pix2pixhd", "discriminator", pytest.param("spade", marks=pytest.mark.slow)])
def test_graphs_of_networks_in_training_take_any_size(network: str) -> None:
    """Graphs without machine code; of SPADE also the power iterations, of which each call makes one."""
    made: dict[str, Callable[[], nn.Module]] = {
        "pix2pixhd": lambda: GlobalGenerator(in_channels=3, width=2, downs=1, blocks=1),
        "spade": lambda: SpadeGenerator(in_channels=3, width=2, hidden=4, norm="batch"),
        "discriminator": lambda: MultiscaleDiscriminator(in_channels=3, width=4, layers=1, scales=1),
    }
    gradients: list[list[Tensor]] = []
    for backend in (None, "eager"):
        torch.manual_seed(0)
        trained = made[network]().double().train()
        if backend:
            trained.compile(backend=backend)
        found = []
        for x in pictures(32 if network == "spade" else 1):
            result = trained(x.double())
            while isinstance(result, list):
                result = result[-1]
            trained.zero_grad()
            result.sin().sum().backward()
            found += [result.detach(), *(p.grad for p in trained.parameters() if p.grad is not None)]
        gradients.append(found)
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what Inductor imports is out of date
def test_a_compiled_network_takes_any_size() -> None:
    torch.manual_seed(0)
    network = GlobalGenerator(in_channels=3, width=2, downs=1, blocks=1)
    assert compiling.refusal("cpu") == ""
    names = list(network.state_dict())
    plain = [network(x) for x in pictures()]
    compiling.compile_in_place(network)
    for x, wanted in zip(pictures(), plain, strict=True):
        found = network(x)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        found.sum().backward()
    assert list(network.state_dict()) == names


def pictures(unit: int = 1) -> Iterator[Tensor]:
    sizes = [(2, 3), (1, 2), (3, 1)] if unit > 1 else [(8, 8), (10, 14), (22, 6), (6, 34)]
    for number, (height, width) in enumerate(sizes):
        size = height * unit, width * unit
        yield torch.randn(1 + number % 2, 3, *size, generator=torch.Generator().manual_seed(number))


def test_compiling_and_checkpoints_of_activations_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="--compile and --checkpoint-activations exclude each other"):
        tiny_config(compile=True, checkpoint_activations=True)
