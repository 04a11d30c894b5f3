"""Instance and batch norm for inference, on pixels (N, C) with their channels side by side, a cacheful at a time.

Statistics come from one pass over memory: sums of the distance to a sample's mean, so that large means cost no digits, in float32
within a cacheful, as PyTorch sums, and in float64 across them. Normalisation, rectification and addition are another pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CACHEFUL = 2**16  # numbers at once
SAMPLE = 256  # pixels that the first guess of the mean comes from


@dataclass(frozen=True)
class Affine:
    """What a normalisation does to each channel: x * scale + shift, both (C,)."""

    scale: Tensor
    shift: Tensor

    def apply_(self, pixels: Tensor, rectify: bool = False) -> Tensor:
        """Normalise pixels (N, C) in place."""
        for part in _cachefuls(pixels):
            torch.addcmul(self.shift, part, self.scale, out=part)
            if rectify:
                part.relu_()
        return pixels

    def add_to_(self, pixels: Tensor, normalised: Tensor) -> Tensor:
        """Add to pixels (N, C), in place, what becomes of others (N, C), which are lost."""
        for part, other in zip(_cachefuls(pixels), _cachefuls(normalised), strict=True):
            part += torch.addcmul(self.shift, other, self.scale, out=other)
        return pixels


class Norm:
    """A network's normalisation layer behind a convolution.

    Args:
        layer: Instance norm without weights, or batch norm in eval mode.
        bias: The convolution's, (C,): before instance norm it means nothing, before batch norm it becomes part of it.
    """

    def __init__(self, layer: nn.Module, bias: Tensor | None) -> None:
        self._fixed: Affine | None = None
        if isinstance(layer, nn.BatchNorm2d):
            self._fixed = _running(layer, bias)
        else:
            assert isinstance(layer, nn.InstanceNorm2d)
            self._epsilon = layer.eps

    @property
    def fixed(self) -> bool:
        """Whether it is the same for all pictures."""
        return self._fixed is not None

    def of(self, pixels: Tensor) -> Affine:
        """For pixels (N, C)."""
        return self._noted(self._fixed or self.of_statistics(*statistics(pixels)))

    def of_rows(self, rows: Tensor, counts: Tensor) -> Affine:
        """For rows (U, C) of which counts (U,) say how many pixels each stands for."""
        return self._noted(self._fixed or self.of_statistics(*weighted_statistics(rows, counts)))

    def of_statistics(self, mean: Tensor, variance: Tensor) -> Affine:
        """For a picture of that mean and (biased) variance of each channel, (C,) in float64."""
        return self._fixed or _affine(mean, variance, self._epsilon)

    def _noted(self, affine: Affine) -> Affine:
        notes = _NOTES.get()
        if notes is not None:
            notes[self] = affine
        return affine


_NOTES: ContextVar[dict[Norm, Affine] | None] = ContextVar("notes", default=None)


@contextmanager
def noted() -> Iterator[dict[Norm, Affine]]:
    """What normalisations do inside, each the last time; in this thread."""
    notes: dict[Norm, Affine] = {}
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def _running(layer: nn.BatchNorm2d, bias: Tensor | None) -> Affine:
    assert layer.running_mean is not None and layer.running_var is not None
    scale = (layer.running_var.double() + layer.eps).rsqrt() * layer.weight.detach()
    centre = layer.running_mean.double() if bias is None else layer.running_mean.double() - bias.detach()
    return Affine(scale.float(), (layer.bias.detach() - centre * scale).float())


def _affine(mean: Tensor, variance: Tensor, epsilon: float) -> Affine:
    scale = (variance + epsilon).rsqrt()
    return Affine(scale.float(), (-mean * scale).float())


def statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of each channel of pixels (N, C), in float64."""
    guess = pixels[:: max(1, len(pixels) // SAMPLE)].mean(dim=0)
    total = guess.new_zeros(2, len(guess), dtype=torch.float64)
    for part in _cachefuls(pixels):
        distance = part - guess
        total[0] += distance.sum(dim=0)
        total[1] += distance.square_().sum(dim=0)
    first, second = total / len(pixels)
    return guess + first, (second - first.square()).clamp_(min=0)


def weighted_statistics(rows: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of rows (U, C) that stand for counts (U,) pixels each, in float64."""
    shares = counts.double() / counts.sum()
    mean, second = torch.zeros(2, rows.shape[1], dtype=torch.float64, device=rows.device)
    parts = list(zip(_cachefuls(rows), pieces(shares, _pixels_at_once(rows)), strict=True))
    for part, share in parts:
        mean += share @ part.double()
    for part, share in parts:
        second += share @ (part.double() - mean).square_()
    return mean, second


def pieces(rows: Tensor, at_once: int) -> list[Tensor]:
    """Views of so many rows each, the last perhaps of fewer."""
    return [rows[first : first + at_once] for first in range(0, len(rows), at_once)]


def _pixels_at_once(pixels: Tensor) -> int:
    return max(1, CACHEFUL // pixels.shape[1])


def _cachefuls(pixels: Tensor) -> list[Tensor]:
    return pieces(pixels, _pixels_at_once(pixels))
