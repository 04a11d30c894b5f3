"""What a training will take, before it starts: parameters, arithmetic, memory and time of one step.

The recipe's own `train_step` is rehearsed on torch's meta device, where tensors have shapes but no content: the arithmetic is
counted by torch, the bytes that are alive by `_Meter`. So every recipe, also one that comes later, is estimated by its real
code. What the rehearsal cannot see was measured once; the constants below say where and how.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from gesso.devices import choose_device
from gesso.labels import Semantics
from gesso.networks.vgg import VGG19
from gesso.recipes.protocol import Batch, Players, Recipe, TrainingConfig
from gesso.session import SYNTHESIS, freeze

MIB = 2**20

# Python with gesso.train, oneDNN's compiled kernels and TensorBoard, before any tensor counts: the peak of a training of
# networks of 2 channels was 367 MiB (torch 2.13 for CPUs, Linux). A GPU's context takes about as much; that is not measured.
RUNTIME = 370 * MIB

# How much more the heap occupies than the tensors of a step: it keeps the holes that freed tensors leave. 1.26 to 1.66 in
# seven trainings of 4 to 188 million parameters at 128x256 to 512x1024; with a heap that gives everything back
# (MALLOC_MMAP_THRESHOLD_=65536) 1.04, so oneDNN's own copies hardly count.
HOLES = 1.4

# Arithmetic of a whole step, by the rate that one convolution reaches alone: normalisation, activations and losses cost time
# but are not counted. Measured on one quiet core (AVX-512, probe 95 GFLOP/s): 0.66 for pix2pixhd-small at 128x256, 0.72 at
# 256x512, 0.78 for 33 million parameters at 256x512, 0.62 for the 512x1024 preset, 0.81 for bf16; 0.5 on two cores.
EFFICIENCY = 0.7

OBJECTS = 100  # what operations that count distinct values are taken to find: on meta there is nothing to count


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

    With several processes (`WORLD_SIZE`), each does its share of the batch. bf16-mixed is taken to need the memory of
    32-true: on CPUs the casts eat what they save (measured: 10 % less to 4 % more).

    Args:
        recipe: A module of `gesso.recipes`.
        config: Its settings; weights of the perceptual loss need not be there.
        semantics: What the networks' input is made of.
        size: Height and width that the networks see, after preprocessing.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps": where time is measured.
        frozen: Prefixes of names of what is not trained, as a phase has them.
        measure: Whether to take the time of a convolution, once per process and for at most about a second.

    Raises:
        ValueError: The networks cannot take this size.
        ConfigError: The device is not on this machine.
    """
    players = _build(recipe, config, semantics)
    freeze(players, frozen)
    trained = sum(map(_numbers, players.trained.values()))
    flops, peak = _rehearse(recipe, config, players, semantics, size)
    seconds = None
    if measure:
        rate, per_parameter = measure_speed(choose_device(device), config.precision)
        seconds = flops / (rate * EFFICIENCY) + trained * per_parameter
    everyone = {**players.trained, **players.frozen}
    memory = RUNTIME + _lasting(players, averaged=config.ema > 0) + round(HOLES * peak)
    return Estimate({name: _numbers(network) for name, network in everyone.items()}, flops, memory, seconds)


def _build(recipe: Recipe, config: TrainingConfig, semantics: Semantics) -> Players:
    """All networks on the meta device; VGG untrained, so that nothing is read or downloaded."""
    without = config.model_copy(update={"vgg": False}) if getattr(config, "vgg", False) else config
    with torch.device("meta"):
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
    moments = 2 * sum(p.nbytes for network in players.trained.values() for p in network.parameters())
    copies = sum(_bytes(players.trained[name]) for name in SYNTHESIS if name in players.trained)
    return weights + moments + copies * averaged


# ---------------------------------------------------------------------------------------------------------- rehearsal


def _rehearse(
    recipe: Recipe, config: TrainingConfig, players: Players, semantics: Semantics, size: tuple[int, int]
) -> tuple[int, int]:
    """FLOP of a step, and the peak of the bytes that it needs beyond the weights: batch, activations, gradients."""
    images = max(1, config.batch // (config.accumulate * int(os.environ.get("WORLD_SIZE", "1"))))
    count = min(
        config.accumulate, 2
    )  # from the second part on, gradients exist beside activations; more parts add nothing
    meter, counter = _Meter(players), FlopCounterMode(display=False)
    with counter, meter:
        parts = [_batch(images, semantics, size) for _ in range(count)]
        waiting = meter.live // count * (config.accumulate - count)
        recipe.train_step(config, players, {}, parts, _Engine())
    return counter.get_total_flops() * config.accumulate // count, meter.peak + waiting


def _batch(images: int, semantics: Semantics, size: tuple[int, int]) -> Batch:
    def empty(*channels: int, kind: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(images, *channels, *size, dtype=kind, device="meta")

    names = {"name": ["rehearsal"] * images, "size": [size] * images}
    batch: Batch = {**names, "semantics": empty(semantics.channels), "image": empty(3)}
    if semantics.source_channels:
        return {**batch, "source": batch["semantics"]}
    return {**batch, "label": empty(kind=torch.int64), "instance": empty(kind=torch.int64)}


class _Engine:
    """What a training step needs of Fabric, for one process in full precision."""

    def backward(self, tensor: Tensor) -> None:
        tensor.backward()  # type: ignore[no-untyped-call]

    def no_backward_sync(self, module: Any, enabled: bool = True) -> AbstractContextManager[Any]:
        return nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are alive, those of the players' weights left out."""

    def __init__(self, players: Players) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        networks = (*players.trained.values(), *players.frozen.values())
        weights = (t for network in networks for t in (*network.parameters(), *network.buffers()))
        self._sizes = {t.untyped_storage()._cdata: 0 for t in weights}  # by storage, because views share one

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = UNKNOWABLE.get(func, func)(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        self.peak = max(self.peak, self.live)
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self.live += storage.nbytes()
            finalize(storage, self._forget, storage._cdata)

    def _forget(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def _unique(values: Tensor, *_: bool, **__: bool) -> tuple[Tensor, Tensor, Tensor]:
    return values.new_empty(OBJECTS), values.new_empty(values.shape), values.new_empty(OBJECTS)


def _bincount(values: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    return values.new_empty(max(minlength, OBJECTS))


def _item(value: Tensor) -> int:
    return OBJECTS


# Operations whose result depends on content, as pooling over instances has them; torch refuses them on meta.
UNKNOWABLE: Mapping[Any, Callable[..., Any]] = {
    torch.ops.aten._unique2.default: _unique,
    torch.ops.aten.bincount.default: _bincount,
    torch.ops.aten._local_scalar_dense.default: _item,
}


# --------------------------------------------------------------------------------------------------------------- speed


@functools.cache
def measure_speed(device: str, precision: str) -> tuple[float, float]:
    """FLOP/s of a 3x3 convolution of 64 channels, forward and backward; and seconds per parameter of a step of Adam."""
    images = 1 if device == "cpu" else 16  # a GPU is not busy with one
    x = torch.ones(images, 64, 64, 128, device=device, requires_grad=True)
    weight = torch.full((64, 64, 3, 3), 0.01, device=device, requires_grad=True)
    weights = torch.ones(2**22, device=device, requires_grad=True)
    weights.grad = torch.ones_like(weights)
    adam = torch.optim.Adam([weights])

    def convolve() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            y = F.conv2d(x, weight, padding=1)
        y.sum().backward()  # type: ignore[no-untyped-call]
        weight.grad[0, 0, 0, 0].item()  # type: ignore[index]  # waits for the device

    def update() -> None:
        adam.step()
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
