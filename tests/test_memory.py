"""Little memory, same numbers: strips without gradients, activations computed again in training, and what a machine has left."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso import devices
from gesso.devices import GIB, Meter, available_memory, forward_memory, refuse_large_forward
from gesso.errors import ConfigError
from gesso.labels import Semantics
from gesso.networks import frugal
from gesso.networks.frugal import Layers, checkpoint_activations
from gesso.networks.pix2pixhd import CoarseToFineGenerator, MultiscaleDiscriminator, ResidualBlock, initialise
from gesso.recipes import pix2pixhd
from gesso.recipes.protocol import Players
from support import PlainEngine

MIB = 2**20
LINUX = Path("/proc/self/status").exists()


@pytest.fixture(autouse=True)
def fixed_random_numbers(one_thread: None) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def generator(norm: str = "instance") -> CoarseToFineGenerator:
    network = CoarseToFineGenerator(
        in_channels=5, width=4, downs=2, blocks=2, enhancers=2, enhancer_blocks=1, norm=norm
    )
    initialise(network)
    return network


# --- strips ---


@pytest.fixture
def everything_in_strips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cut every layer, however small; the list tells what was cut."""
    cut: list[str] = []
    original = frugal._tops

    def noting(height: int, rows: int, step: int, x: Tensor) -> list[int]:
        cut.append(f"{height} in {rows}")
        return original(height, rows, step, x)

    monkeypatch.setattr(frugal, "LARGE", 0)
    monkeypatch.setattr(frugal, "STRIP", 1)
    monkeypatch.setattr(frugal, "SHARED", 8)
    monkeypatch.setattr(frugal, "_tops", noting)
    return cut


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("batch", [1, 2])
def test_strips_change_nothing(everything_in_strips: list[str], dtype: torch.dtype, norm: str, batch: int) -> None:
    network = generator(norm).to(dtype)
    x = torch.randn(batch, 5, 96, 48, dtype=dtype)
    for mode in (True, False):
        network.train(mode)
        before = {k: t.clone() for k, t in network.state_dict().items()}
        plain = network(x.clone().requires_grad_()).detach()
        statistics = {k: t.clone() for k, t in network.state_dict().items()}
        network.load_state_dict(before)
        assert not everything_in_strips
        given = x.clone()
        with torch.no_grad():
            in_strips = network(given)
        assert everything_in_strips
        everything_in_strips.clear()
        # In float64 the library sums in another order where there is less to sum.
        exact = {"rtol": 0.0, "atol": 0.0 if dtype == torch.float32 else 1e-12}
        torch.testing.assert_close(in_strips, plain, **exact)
        torch.testing.assert_close(network.state_dict(), statistics, **exact)
        assert torch.equal(given, x), "what is handed in stays as it is"


@pytest.mark.parametrize("height", [8, 9, 16, 17, 31])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(7, 1, 0), (4, 2, 2), (4, 1, 2), (3, 2, 1), (3, 1, 0), (1, 1, 0)]
)
def test_any_convolution_in_strips(
    everything_in_strips: list[str], height: int, kernel: int, stride: int, padding: int
) -> None:
    layers: list[nn.Module] = [nn.Conv2d(3, 6, kernel, stride=stride, padding=padding)]
    if kernel in (3, 7) and not padding:
        layers.insert(0, nn.ReflectionPad2d(kernel // 2))
    chain, x = Layers(*layers, nn.LeakyReLU(0.2)), torch.randn(1, 3, height, 10)
    with torch.no_grad():
        # A strip of one row may be summed in another order.
        torch.testing.assert_close(chain(x), nn.Sequential(*chain)(x), rtol=0, atol=1e-6)


def test_blocks_and_chains_leave_their_input_alone() -> None:
    x = torch.randn(1, 4, 8, 8)
    given = x.clone()
    with torch.inference_mode():
        for layers in (ResidualBlock(4), Layers(nn.ReLU()), Layers(nn.InstanceNorm2d(4), nn.ReLU())):
            assert not torch.equal(layers(given), given)
            assert torch.equal(given, x)


def test_large_layers_alone_are_cut(everything_in_strips: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Layers(nn.Conv2d(1, 1, 3, padding=1)), torch.zeros(1, 1, 64, 64)
    monkeypatch.setattr(frugal, "LARGE", 2 * x.nbytes + 1)
    with torch.no_grad():
        layer(x)
        assert everything_in_strips == []
        layer(torch.zeros(1, 1, 65, 64))
    assert everything_in_strips == ["65 in 8"]


def test_the_published_generator_goes_forward_in_a_gibibyte() -> None:
    """At 2048x1024, beyond its 0.7 GiB of weights; PyTorch and gesso take 0.25 GiB."""
    with torch.device("meta"):
        network = CoarseToFineGenerator(in_channels=36)
    need = forward_memory(network, [(1, 36, 1024, 2048)])
    assert 288 * MIB < need < 850 * MIB
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frugal, "LARGE", float("inf"))
        assert forward_memory(network, [(1, 36, 1024, 2048)]) > 1.5 * need


# --- activations computed again ---


def players(norm: str, dtype: torch.dtype, again: bool) -> Players:
    torch.manual_seed(1)
    discriminator = initialise(MultiscaleDiscriminator(in_channels=8, width=4, layers=2, scales=2, norm=norm))
    both = {"generator": generator(norm), "discriminator": discriminator}
    return Players({k: checkpoint_activations(n.to(dtype), again) for k, n in both.items()})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_activations_computed_again_change_no_bit(norm: str, dtype: torch.dtype) -> None:
    """Two steps in two parts each: losses, gradients, running statistics and weights."""
    config = pix2pixhd.Config(discriminator_layers=2, lambda_l1=1.0)
    parts = [{"semantics": torch.randn(2, 5, 32, 32, dtype=dtype), "image": torch.randn(2, 3, 32, 32, dtype=dtype)}] * 2
    found = []
    for again in (False, True):
        sides = players(norm, dtype, again)
        optimizers = pix2pixhd.optimizers(config, sides)
        steps = [pix2pixhd.train_step(config, sides, optimizers, parts, PlainEngine()) for _ in range(2)]
        losses = {f"{number} {k}": v for number, step in enumerate(steps) for k, v in step.items()}
        states = {f"{n} {k}": t for n, m in sides.trained.items() for k, t in m.state_dict().items()}
        gradients = {f"{n} {k} grad": p.grad for n, m in sides.trained.items() for k, p in m.named_parameters()}
        found.append(losses | states | gradients)
    kept, computed = found
    assert kept.keys() == computed.keys()
    assert [k for k in kept if not torch.equal(kept[k], computed[k])] == []


def test_running_statistics_count_a_batch_once() -> None:
    chain = checkpoint_activations(Layers(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))
    chain(torch.randn(1, 1, 8, 8)).sum().backward()
    assert chain[1].num_batches_tracked == 1
    assert chain[1].momentum == 0.1


def test_activations_computed_again_need_less_memory() -> None:
    def peak(again: bool) -> int:
        with torch.device("meta"):
            network = checkpoint_activations(generator(), again)
            with Meter(network.parameters()) as meter:
                network(torch.empty(1, 5, 512, 512)).sum().backward()
        return meter.peak

    assert peak(True) < 0.6 * peak(False)
    network = checkpoint_activations(checkpoint_activations(generator()), False)
    assert not any(m.recompute for m in network.modules() if isinstance(m, Layers))


# --- what is left of a machine ---


def machine(root: Path, groups: str | None, files: dict[str, str]) -> Path:
    """A made-up system with 8 GiB available."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 9999999 kB\nMemAvailable:   {8 * 2**20} kB\nCached: 1 kB\n")
    if groups is not None:
        (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


STATISTICS = f"anon 5\ninactive_file {GIB}\ntotal_inactive_file {2 * GIB}\n"
SECOND = {"memory.current": f"{3 * GIB}\n", "memory.stat": STATISTICS}


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (None, {}, 8),
        ("0::/\n", {}, 8),
        ("0::/\n", {"memory.max": f"{5 * GIB}\n", **SECOND}, 3),
        ("0::/\n", {"memory.max": "max\n", **SECOND}, 8),
        ("0::/\n", {"memory.max": f"{GIB}\n", **SECOND}, 0),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{6 * GIB}", **{f"a/{k}": v for k, v in SECOND.items()}}, 4),
        ("0::/gone\n", {"memory.max": f"{5 * GIB}\n", **SECOND}, 3),
        (
            "5:cpu,cpuacct:/c\n4:memory:/c\n0::/\n",
            {
                "memory/c/memory.limit_in_bytes": f"{4 * GIB}",
                "memory/c/memory.usage_in_bytes": f"{3 * GIB}",
                "memory/c/memory.stat": STATISTICS,
            },
            3,
        ),
    ],
)  # fmt: skip
def test_available_memory_heeds_control_groups(
    tmp_path: Path, groups: str | None, files: dict[str, str], expected: int
) -> None:
    assert available_memory("cpu", machine(tmp_path, groups, files)) == expected * GIB


def test_unknown_memory_is_none(tmp_path: Path) -> None:
    assert available_memory("cpu", tmp_path) is None
    assert available_memory("mps") is None
    if LINUX:
        free = available_memory()
        assert free is not None and 0 < free < 2**50


# --- too little of it ---


def test_forward_memory_in_closed_form() -> None:
    """What goes in and what comes out of the only layer, and as much again for the library's copies, with the weights'."""
    layer = nn.Conv2d(2, 3, 1)
    for size, holes in (((16, 8), devices.HOLES), ((4096, 2048), 1.0)):
        pixels, weights = 4 * size[0] * size[1], 4 * (2 * 3 + 3)
        found = forward_memory(layer, [(1, 2, *size)])
        assert found == pytest.approx(holes * 2 * pixels * (2 + 3) + devices.HOLES * weights, abs=4)
    assert not layer.weight.is_meta


def test_a_layout_that_will_not_fit_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        network = CoarseToFineGenerator(in_channels=36)
    monkeypatch.setattr(devices, "available_memory", lambda device: 2 * GIB)
    refuse_large_forward(network, [(1, 36, 1024, 2048)], "cpu")
    with pytest.raises(
        ConfigError, match=r"2048x4096 needs about 3\.\d GiB .*only 2\.0 GiB are free on cpu.*--device cuda"
    ):
        refuse_large_forward(network, [(1, 36, 2048, 4096)], "cpu")
    with pytest.raises(
        ConfigError, match=r"^9 layouts of 1024x2048 at once .*free on cuda: use fewer at once.*--device cpu"
    ):
        refuse_large_forward(network, [(9, 36, 1024, 2048)], "cuda")
    monkeypatch.setattr(devices, "available_memory", lambda device: None)
    refuse_large_forward(network, [(1, 36, 8192, 8192)], "mps")


def test_a_small_layout_is_not_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "forward_memory", lambda *_: pytest.fail("rehearsed"))
    monkeypatch.setattr(devices, "available_memory", lambda device: GIB)
    refuse_large_forward(nn.Identity(), [(1, 3, 256, 512)], "cpu")


# --- the published size, for real ---

INFERENCE = """
    import json, sys
    import numpy as np
    import gesso

    def peak():  # of this program alone; getrusage would count the memory of the one that started it
        return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

    synthesise = gesso.load(sys.argv[1], device="cpu")
    patches = np.arange(16 * 32).reshape(16, 32)
    layout = np.kron(patches, np.ones((64, 64), int))
    picture = synthesise(layout % 35, layout)
    print(json.dumps({"peak": peak(), "shape": picture.shape, "spread": float(picture.std())}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="the peak of a process is read as Linux tells it")
def test_inference_at_2048x1024_within_two_gibibytes(tmp_path: Path) -> None:
    """A fresh process, imports and 0.7 GiB of weights included."""
    from gesso.checkpoints import ModelInfo, NetworkDescription, save_model
    from gesso.data.spaces import published

    space = published("cityscapes")
    semantics = Semantics(classes=len(space), boundary=True)
    arguments: dict[str, Any] = {"in_channels": semantics.channels}
    description = NetworkDescription(name="pix2pixhd.CoarseToFineGenerator", arguments=arguments)
    networks = {"generator": description}
    info = ModelInfo(recipe="pix2pixhd", networks=networks, label_space=space, semantics=semantics, preprocessing={})
    model = tmp_path / "model.safetensors"
    save_model(model, {"generator": initialise(CoarseToFineGenerator(**arguments))}, info)
    command = [sys.executable, "-c", textwrap.dedent(INFERENCE), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["shape"] == [1024, 2048, 3] and found["spread"] > 1
    assert found["peak"] < 2.0 * GIB
