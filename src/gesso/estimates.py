"""What a training will take, before it starts: parameters, arithmetic, memory and time of one step.

The recipe's own `train_step` is rehearsed on torch's meta device, where tensors have shapes but no content: arithmetic
and bytes that are alive are counted by `gesso.devices.Meter`. So every recipe, also one that comes later, is estimated by
its real code. What the rehearsal cannot see was measured once; the constants below say where and how.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from gesso.devices import GIB, Meter, available_memory, choose_device
from gesso.errors import ConfigError
from gesso.labels import Semantics
from gesso.networks.frugal import stands_for
from gesso.networks.vgg import VGG19
from gesso.recipes.adam import adam
from gesso.recipes.protocol import Batch, Players, Recipe, TrainingConfig
from gesso.session import SYNTHESIS, freeze

MIB = 2**20

# Python with gesso.train, oneDNN's compiled kernels and TensorBoard, before any tensor counts: the peak of a training of
# networks of 2 channels was 367 MiB (torch 2.13 for CPUs, Linux). A GPU's context takes about as much; that is not measured.
RUNTIME = 370 * MIB

# Arithmetic of a whole step, by the rate that one convolution reaches alone: normalisation, activations and losses cost time
# but are not counted. Measured on one quiet core (AVX-512, probe 95 GFLOP/s): 0.66 for pix2pixhd-small at 128x256, 0.72 at
# 256x512, 0.78 for 33 million parameters at 256x512, 0.62 for the 512x1024 preset, 0.81 for bf16; 0.5 on two cores.
EFFICIENCY = 0.7

# An estimate is right within 20 %: what does not fit even at so much of it will not fit.
CERTAIN = 0.8


@dataclass(frozen=True)
class Estimate:
    """What one training step takes in one process.

    Attributes:
        parameters: How many, by network, frozen ones included.
        flops: Floating-point operations of convolutions and matrix products, forward and backward, of all parts of a step.
        memory: Bytes at the peak: weights, gradients, Adam's moments, averaged weights, activations and the runtime itself;
            on a GPU those on the device. Within 20 % on CPUs. Each data-loading worker is a process of its own and adds to it.
        seconds: Per step on this machine as busy as it is now, within a factor of 2; None when not measured.
    """

    parameters: dict[str, int]
    flops: int
    memory: int
    seconds: float | None


def estimate(
    recipe: Recipe,
    config: TrainingConfig,
    semantics: Semantics,
    size: tuple[int, int],
    *,
    device: str = "cpu",
    measure: bool = True,
    frozen: tuple[str, ...] = (),
) -> Estimate:
    """Estimate a training step without allocating its networks.

    With several processes (`WORLD_SIZE`), each does its share of the batch.

    Args:
        recipe: A module of `gesso.recipes`.
        config: Its settings; weights of the perceptual loss need not be there.
        semantics: What the networks' input is made of.
        size: Height and width that the networks see, after preprocessing.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps": where time is measured.
        measure: Whether to take the time of a convolution, once per process and for at most about a second.
        frozen: Prefixes of names (NETWORK.PARAMETER) of what is not trained, as a phase has them.

    Raises:
        ValueError: The networks cannot take this size.
        ConfigError: A normalisation would have a single value per channel, or the device is not on this machine.
    """
    with _nowhere(config.precision), _naming_single_values(size):
        players = _build(recipe, config, semantics)
        freeze(players, frozen)
        flops, peak = _rehearse(recipe, config, players, semantics, size)
    trained = sum(map(_numbers, players.trained.values()))
    seconds = None
    if measure:
        rate, per_parameter = measure_speed(choose_device(device), config.precision)
        seconds = flops / (rate * EFFICIENCY) + trained * per_parameter
    everyone = {**players.trained, **players.frozen}
    memory = RUNTIME + _lasting(players, averaged=config.ema > 0) + peak
    return Estimate({name: _numbers(network) for name, network in everyone.items()}, flops, memory, seconds)


def _nowhere(precision: str) -> AbstractContextManager[Any]:
    """Where tensors have shapes but no content: the meta device; for mixed precision, of which it knows nothing, fake ones."""
    return FakeTensorMode() if precision == "bf16-mixed" else torch.device("meta")


@contextmanager
def _naming_single_values(size: tuple[int, int]) -> Iterator[None]:
    """What torch says of them, in the words of the command line."""
    try:
        yield
    except ValueError as error:
        if "Expected more than 1" not in str(error):
            raise
        raise ConfigError(
            f"Pictures of {size[0]}x{size[1]} shrink to 1x1 inside the networks, where a normalisation has a single value per "
            "channel: train at a larger size, or halve it less often (--generator-downs, --encoder-downs, "
            "--discriminator-layers, --discriminator-scales). With --norm batch more photographs at once help too (--batch "
            "above --accumulate)."
        ) from None


def _build(recipe: Recipe, config: TrainingConfig, semantics: Semantics) -> Players:
    """All networks; VGG untrained, so that nothing is read or downloaded."""
    without = config.model_copy(update={"vgg": False}) if getattr(config, "vgg", False) else config
    players = recipe.build(without, semantics)
    if without is not config:
        players.frozen["vgg"] = VGG19()
    for network in players.trained.values():
        network.train()
    return players


def _numbers(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _bytes(network: nn.Module) -> int:
    return sum(t.nbytes for t in (*network.parameters(), *network.buffers()))


def _lasting(players: Players, averaged: bool) -> int:
    """Bytes of what stays from step to step: weights, both moments of Adam, averaged weights."""
    weights = sum(_bytes(network) for network in (*players.trained.values(), *players.frozen.values()))
    moments = 2 * sum(p.nbytes for network in players.trained.values() for p in network.parameters() if p.requires_grad)
    copies = sum(_bytes(players.trained[name]) for name in SYNTHESIS if name in players.trained)
    return weights + moments + copies * averaged


# ----------------------------------------------------------------------------------------------------- too little memory


def refuse_too_little_memory(
    recipe: Recipe,
    config: TrainingConfig,
    semantics: Semantics,
    size: tuple[int, int],
    *,
    device: str = "cpu",
    frozen: tuple[str, ...] = (),
) -> None:
    """Refuse a training that cannot fit, instead of being killed by the system in its first step.

    Args:
        recipe: A module of `gesso.recipes`.
        config: Its settings.
        semantics: What the networks' input is made of.
        size: Height and width that the networks see.
        device: "cpu", "cuda", "cuda:N" or "mps".
        frozen: Prefixes of names of what is not trained.

    Raises:
        ConfigError: More memory is needed than is free; the message says how much the flags that help would need.
    """
    free = available_memory(device)
    if free and device == "cpu":
        free //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # the processes of this machine share it

    def need(changes: Mapping[str, Any], size: tuple[int, int] = size) -> int:
        changed = config.model_copy(update=dict(changes))
        return estimate(recipe, changed, semantics, size, device=device, measure=False, frozen=frozen).memory - RUNTIME

    if free is None or CERTAIN * (least := need({})) <= free:
        return
    flags = _flags_that_save(config)
    lines = [f"{flag} (then about {need(change) / GIB:.1f} GiB)" for flag, change in flags.items()]
    everything = {key: value for change in flags.values() for key, value in change.items()}
    if len(flags) > 1:
        lines.append(f"all of these together (about {need(everything) / GIB:.1f} GiB)")
    multiple = recipe.multiple(config)
    half = (size[0] // 2 // multiple * multiple, size[1] // 2 // multiple * multiple)
    if min(half) >= 2 * multiple:
        also = " besides" if flags else ""
        lines.append(f"half the size{also}, by --height and --width or --crop ({need(everything, half) / GIB:.1f} GiB)")
    raise ConfigError(
        f"A training step at {size[0]}x{size[1]} needs about {least / GIB:.1f} GiB, but only {free / GIB:.1f} GiB are free on "
        f"{device}. What helps: {'; '.join(lines) or 'smaller networks'}."
    )


def _flags_that_save(config: TrainingConfig) -> dict[str, dict[str, Any]]:
    """Flags that save memory and are not in use, with what they set."""
    found: dict[str, dict[str, Any]] = {}
    if not config.checkpoint_activations:
        found["--checkpoint-activations"] = {"checkpoint_activations": True}
    if config.accumulate < config.batch:
        found[f"--accumulate {config.batch}"] = {"accumulate": config.batch}
    if config.precision != "bf16-mixed":
        found["--precision bf16-mixed"] = {"precision": "bf16-mixed"}
    return found


# ---------------------------------------------------------------------------------------------------------- rehearsal


def _rehearse(
    recipe: Recipe, config: TrainingConfig, players: Players, semantics: Semantics, size: tuple[int, int]
) -> tuple[int, int]:
    """FLOP of a step, and the peak of the bytes that it needs beyond the weights: batch, activations, gradients."""
    images = max(1, config.batch // (config.accumulate * int(os.environ.get("WORLD_SIZE", "1"))))
    # From the second part on, gradients exist beside activations; more parts add nothing.
    count = min(config.accumulate, 2)
    networks = (*players.trained.values(), *players.frozen.values())
    engine = _Engine(config.precision)
    playing = Players({n: engine.wrap(network) for n, network in players.trained.items()}, players.frozen)
    optimizers: dict[str, Any] = {side: _Idle(o) for side, o in recipe.optimizers(config, players).items()}
    known = (t for network in networks for t in (*network.parameters(), *network.buffers()))
    with Meter(known, stands_for) as meter:
        parts = [_batch(images, semantics, size, config.warp_layout > 0) for _ in range(count)]
        waiting = meter.live // count * (config.accumulate - count)
        recipe.train_step(config, playing, optimizers, parts, engine)
    return meter.flops * config.accumulate // count, meter.peak + waiting


def _batch(images: int, semantics: Semantics, size: tuple[int, int], bent: bool) -> Batch:
    def empty(*channels: int, kind: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(images, *channels, *size, dtype=kind)

    names = {"name": ["rehearsal"] * images, "size": [size] * images}
    batch: Batch = {**names, "semantics": empty(semantics.channels), "image": empty(3)}
    if semantics.source_channels:
        return {**batch, "source": batch["semantics"]}
    maps = ["label", "instance", *(["seen_label", "seen_instance", "seen_from"] if bent else [])]
    seen = {"seen": empty(semantics.channels)} if bent else {}
    return {**batch, **seen, **{name: empty(kind=torch.int64) for name in maps}}


class _Idle:
    """An optimizer that changes nothing: what it keeps from step to step is counted elsewhere."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.zero_grad = optimizer.zero_grad

    def step(self) -> None:
        pass


class _Engine:
    """What a training step needs of Fabric, for one process."""

    def __init__(self, precision: str) -> None:
        self.lower = precision == "bf16-mixed"

    def wrap(self, network: nn.Module) -> nn.Module:
        return _Lower(network) if self.lower else network

    def backward(self, tensor: Tensor) -> None:
        tensor.backward()  # type: ignore[no-untyped-call]

    def no_backward_sync(self, module: Any, enabled: bool = True) -> AbstractContextManager[Any]:
        return nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.lower)


class _Lower(nn.Module):
    """A network in mixed precision, as Fabric runs it: what comes out is float32 again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor | None) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            result = self.network(*inputs)
        return tree_map_only(Tensor, Tensor.float, result)


# --------------------------------------------------------------------------------------------------------------- speed


@functools.cache
def measure_speed(device: str, precision: str) -> tuple[float, float]:
    """FLOP/s of a 3x3 convolution of 64 channels, forward and backward; and seconds per parameter of a step of Adam."""
    images = 1 if device == "cpu" else 16  # a GPU is not busy with one
    x = torch.ones(images, 64, 64, 128, device=device, requires_grad=True)
    weight = torch.full((64, 64, 3, 3), 0.01, device=device, requires_grad=True)
    weights = torch.ones(2**22, device=device, requires_grad=True)
    weights.grad = torch.ones_like(weights)
    optimizer = adam([weights], 1e-3, (0.5, 0.999))

    def convolve() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            y = F.conv2d(x, weight, padding=1)
        y.sum().backward()  # type: ignore[no-untyped-call]
        weight.grad[0, 0, 0, 0].item()  # type: ignore[index]  # waits for the device

    def update() -> None:
        optimizer.step()
        weights[0].item()

    flops = 3 * 2 * images * weight.numel() * 64 * 128
    return flops / _shortest(convolve), _shortest(update) / weights.numel()


def _shortest(call: Callable[[], None], limit: float = 0.4) -> float:
    """Seconds of the fastest of at least three calls, after one to warm up; more calls while there is time."""
    call()
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < limit:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)
