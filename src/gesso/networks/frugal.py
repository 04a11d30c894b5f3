"""Chains of layers in little memory: what every paper's networks share, and no paper's idea.

`Layers` gives what `nn.Sequential` gives, on CPUs in float32 bit for bit, but

    without gradients   cuts large convolutions into horizontal strips, so that neither padded copies nor those that the
                        convolution library makes for itself are ever whole, and normalises and rectifies in place;
    with gradients      keeps, where `checkpoint_activations` asked for it, only what goes into each convolution's step and
                        computes the rest again in the backward pass (Chen et al. 2016, arXiv 1604.06174).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gesso.networks.spectral import SpectralConv2d

LARGE = 64 * 2**20  # bytes of input and output together from which a layer is worth cutting
STRIP = 4 * 2**20  # bytes of input and output of one piece
SHARED = 16  # rows of a strip are a multiple of this, which usual numbers of threads divide
STANDS_FOR: ContextVar[float] = ContextVar("STANDS_FOR", default=1.0)
FOLLOWERS = (nn.InstanceNorm2d, nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.Tanh)


class Layers(nn.Sequential):
    """Layers in a row, run step by step; a step is a convolution with its padding, normalisation and activation.

    Layers with random numbers do not belong here: a step that is computed again would draw others.

    Attributes:
        recompute: Whether activations inside a step are computed again in the backward pass instead of kept.
    """

    recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """What the last layer gives."""
        return through(x, self)


def through(x: Tensor, *chains: Layers) -> Tensor:
    """What the last chain gives; unlike calls of one chain after the other, this frees `x` as soon as it can."""
    for chain in chains:
        for step in _steps(chain):
            if chain.recompute and torch.is_grad_enabled():
                x = _recomputed(step, functools.partial(run, step), x)
            else:
                x = run(step, x)
    return x


def recomputed(block: nn.Module, forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """What `forward` makes of the inputs; where `block.recompute` says so, its activations are computed again later."""
    if block.recompute and torch.is_grad_enabled():
        return _recomputed([block], forward, *inputs)
    return forward(*inputs)


def _recomputed(layers: Sequence[nn.Module], forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    once = functools.partial(_leaving_state_alone, layers)
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=once)


def checkpoint_activations(network: nn.Module, enabled: bool = True) -> nn.Module:
    """Let all `Layers` and residual blocks of a network compute activations again in the backward pass, or keep them.

    Losses and gradients stay the same bit for bit; a training step takes about a third longer.

    Args:
        network: Changed in place.
        enabled: Whether to compute again; False undoes it.
    """
    for module in network.modules():
        if hasattr(module, "recompute"):
            module.recompute = enabled  # type: ignore[assignment]
    return network


def run(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """One step: the layers one after the other; `x` itself is never changed."""
    if _frugal():
        return _run_in_strips(layers, x)
    for layer in layers:
        x = layer(x)
    return x


def add(x: Tensor, y: Tensor) -> Tensor:
    """The sum; without gradients it takes the place of y."""
    return y.add_(x) if _frugal() and x.dtype == y.dtype else x + y


def scale_by(x: Tensor, by: Tensor) -> Tensor:
    """Product x * (1 + by); without gradients it takes the place of `by`."""
    return by.add_(1).mul_(x) if _frugal() and x.dtype == by.dtype else x * (1 + by)


def _frugal() -> bool:
    """Not with gradients, and not while a graph is recorded, which would be one for this size alone."""
    recording = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return not (torch.is_grad_enabled() or recording)


def _steps(layers: Iterable[nn.Module]) -> list[list[nn.Module]]:
    steps: list[list[nn.Module]] = []
    for layer in layers:
        if steps and (isinstance(layer, FOLLOWERS) or isinstance(steps[-1][-1], nn.ReflectionPad2d)):
            steps[-1].append(layer)
        else:
            steps.append([layer])
    return steps


def _leaving_state_alone(
    layers: Sequence[nn.Module],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts for the first and the second run of a step.

    Batch norm sees the same batch twice, but counts it once; spectral norm divides by the same number twice, even if there were
    other forwards between.
    """
    modules = [m for layer in layers for m in layer.modules()]
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    convs = [module for module in modules if isinstance(module, SpectralConv2d) and module.training]
    vectors: list[tuple[Tensor, Tensor]] = []
    return _recording(convs, vectors), _replaying(norms, convs, vectors)


@contextmanager
def _recording(convs: Sequence[SpectralConv2d], vectors: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    yield
    vectors[:] = [(conv.u.clone(), conv.v.clone()) for conv in convs]


@contextmanager
def _replaying(
    norms: Sequence[nn.BatchNorm2d], convs: Sequence[SpectralConv2d], vectors: Sequence[tuple[Tensor, Tensor]]
) -> Iterator[None]:
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    now = [(conv.u, conv.v) for conv in convs]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    for conv, (u, v) in zip(convs, vectors, strict=True):
        conv.u, conv.v, conv.frozen = u, v, True
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
        for conv, (u, v) in zip(convs, now, strict=True):
            conv.u, conv.v, conv.frozen = u, v, False


# ------------------------------------------------------------------------------------------------- without gradients


def stands_for() -> float:
    """How many times its own arithmetic a convolution that runs just now stands for, so that all strips make the whole.

    For rehearsals on the meta device, where one strip stands for all of them; rows that strips share do not count twice.
    """
    return STANDS_FOR.get()


@contextmanager
def _standing_for(height: int, rows: int) -> Iterator[None]:
    token = STANDS_FOR.set(height / rows)
    try:
        yield
    finally:
        STANDS_FOR.reset(token)


def _run_in_strips(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Like `run`; only what a convolution of this step has just made is overwritten."""
    reflect = 0
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.ReflectionPad2d) and isinstance(layers[number + 1], nn.Conv2d):
            reflect = layer.padding[0]  # the convolution that follows pads each strip
        elif isinstance(layer, nn.Conv2d):
            x = _convolve(layer, x, reflect)
        elif isinstance(layer, nn.ConvTranspose2d):
            x = _double(layer, x)
        elif isinstance(layer, nn.InstanceNorm2d) and number:
            x = _normalise(layer, x)
        elif isinstance(layer, nn.ReLU) and number:
            x = x.relu_()
        else:
            x = layer(x)
    return x


def _rows(x: Tensor, layer: nn.Conv2d | nn.ConvTranspose2d, height: int, scale: float) -> int:
    """Rows per strip of `height` rows, for an output that is `scale` times as high and wide; all if it is small.

    Strips are equally high, and threads share them evenly: then the convolution library sums in the order of the whole.
    """
    total = x.nbytes * (1 + layer.out_channels / layer.in_channels * scale**2)
    strip = STRIP if x.device.type in ("cpu", "meta") else 16 * STRIP  # elsewhere every launch of a kernel costs time
    rows = max(1, int(height * strip / total) // SHARED) * SHARED
    return height if total < LARGE else min(rows, height)


def _tops(height: int, rows: int, step: int, x: Tensor) -> list[int]:
    """Where strips begin; the last one overlaps if need be. On the meta device, where memory is rehearsed, one tells all."""
    return [0] if x.is_meta else [*range(0, height - rows, step), height - rows]


def _convolve(conv: nn.Conv2d, x: Tensor, reflect: int) -> Tensor:
    """The convolution behind reflection padding, or behind its own padding with zeros."""
    (kernel, _), (stride, _), padding = conv.kernel_size, conv.stride, reflect or int(conv.padding[0])
    mode = "reflect" if reflect else "constant"
    height = (x.shape[2] + 2 * padding - kernel) // stride + 1
    rows = _rows(x, conv, height, 1 / stride)
    if rows == height:
        return conv(F.pad(x, (reflect,) * 4, mode) if reflect else x)
    weight = conv.normalised() if isinstance(conv, SpectralConv2d) else conv.weight
    whole, tops = None, _tops(height, rows, rows, x)
    for top in tops:
        first, last = top * stride - padding, (top + rows - 1) * stride - padding + kernel
        edges = (padding, padding, max(0, -first), max(0, last - x.shape[2]))
        part = F.pad(x[:, :, max(0, first) : last], edges, mode)
        with _standing_for(height, rows * len(tops)):
            whole = _put(whole, top, F.conv2d(part, weight, conv.bias, conv.stride), height)
    assert whole is not None
    return whole


def _double(up: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """The transposed convolution that doubles the size (kernel 3, stride 2, padding 1, output padding 1)."""
    height = x.shape[2]
    rows = _rows(x, up, height, 2)
    if rows == height:
        return up(x)
    whole, tops = None, _tops(height, rows, rows - 1, x)
    for top in tops:
        with _standing_for(height, rows * len(tops)):
            strip = up(x[:, :, top : top + rows])
        # The row below the strip would reach into the strip's last row.
        reliable = 2 * rows if top + rows == height else 2 * rows - 1
        whole = _put(whole, 2 * top, strip[:, :, :reliable], 2 * height)
    assert whole is not None
    return whole


def _put(whole: Tensor | None, top: int, strip: Tensor, height: int) -> Tensor:
    """Put a strip (B, C, h, W) where it belongs in (B, C, height, W), which the first strip brings into being."""
    if whole is None:
        whole = strip.new_empty(*strip.shape[:2], height, strip.shape[3])
    whole[:, :, top : top + strip.shape[2]] = strip
    return whole


def _normalise(norm: nn.InstanceNorm2d, x: Tensor) -> Tensor:
    """Instance normalisation in place, some channels at a time; it knows each channel alone."""
    if 2 * x.nbytes < LARGE:
        return norm(x)
    channels = max(1, x.shape[1] * STRIP // (2 * x.nbytes))
    for first in range(0, channels if x.is_meta else x.shape[1], channels):
        part = x[:, first : first + channels]
        part.copy_(F.instance_norm(part, eps=norm.eps))
    return x
