"""How far an exported graph is from the generator that it was made of, on layouts of several sizes and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from gesso.checkpoints import Model
from gesso.errors import ModelFileError
from gesso.labels import Semantics
from gesso.pictures import to_uint8
from gesso.synthesis.graphs.described import ExportedInfo, draws_dropout
from gesso.synthesis.graphs.sessions import Session, feeds
from gesso.synthesis.inputs import Batch

PATCH = 8  # pixels of the sides of what is one class, and of what is half an object
FLOAT_LIMIT = 2e-3  # of values in [-1, 1]: a quarter of what a level of uint8 is
ROUNDINGS = 20  # times its own rounding error that a network's graph may be off, where that is more
INT8_LIMIT = 0.25  # mean over values in [-1, 1]: beyond it the picture is another one


@dataclass(frozen=True)
class Case:
    """One batch of layouts with what they wear."""

    inputs: Batch
    style: Tensor | None

    @property
    def size(self) -> tuple[int, int, int]:
        """Number, height and width."""
        batch, *_, height, width = next(iter(self.inputs.values())).shape
        return batch, height, width


@dataclass(frozen=True)
class Difference:
    """Between generator and graph, over some layouts.

    Attributes:
        sizes: Number, height and width of each batch.
        largest: Of the values in [-1, 1], before rounding.
        mean: Of them too.
        levels: The largest between the photographs, 0..255.
    """

    sizes: tuple[tuple[int, int, int], ...]
    largest: float
    mean: float
    levels: int

    def __str__(self) -> str:
        layouts = sum(batch for batch, _, _ in self.sizes)
        shown = ", ".join(f"{batch} of {height}x{width}" for batch, height, width in dict.fromkeys(self.sizes))
        return (
            f"on {layouts} layouts ({shown}): at most {self.largest:.1e} of values in [-1, 1], {self.mean:.1e} on average; at "
            f"most {self.levels} of 255 levels"
        )


def cases(semantics: Semantics, info: ExportedInfo, size: tuple[int, int], seed: int = 0) -> list[Case]:
    """Random layouts: one of `size`, or what the network takes above it; three small high ones; two small wide ones.

    Args:
        semantics: What layouts are made of.
        info: Names the graph's inputs and sizes.
        size: Height and width.
        seed: Of classes, objects and styles.
    """
    generator = torch.Generator().manual_seed(seed)
    step, smallest = info.multiple, info.smallest
    least = max(step, smallest)
    high, wide = (max(-(-side // step) * step, least) for side in size)
    if high == wide == step:
        wide += step  # SPADE has nothing to normalise in a single pixel
    sizes = dict.fromkeys([(1, high, wide), (3, least + step, least), (2, least, least + 2 * step)])
    return [_case(semantics, info, shape, generator) for shape in sizes]


def _case(semantics: Semantics, info: ExportedInfo, shape: tuple[int, int, int], generator: torch.Generator) -> Case:
    batch, height, width = shape
    inputs: Batch = {}
    if channels := semantics.source_channels:
        inputs["source"] = torch.rand((batch, channels, height, width), generator=generator) * 2 - 1
    else:
        inputs["label"] = _patches(shape, semantics.classes + 1, PATCH, generator)
    if semantics.boundary:
        inputs["instance"] = _patches(shape, 100, PATCH // 2, generator)
    style = info.model.style
    if not (style and style.channels):
        return Case(inputs, None)
    per_picture = (batch, style.channels)
    return Case(
        inputs, torch.randn(per_picture if style.kind == "z" else (*per_picture, height, width), generator=generator)
    )


def _patches(shape: tuple[int, int, int], numbers: int, side: int, generator: torch.Generator) -> Tensor:
    """(B, H, W) int64 of random numbers, each `side` pixels high and wide."""
    batch, height, width = shape
    coarse = torch.randint(numbers, (batch, -(-height // side), -(-width // side)), generator=generator)
    return coarse.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :height, :width].contiguous()


def difference(model: Model, info: ExportedInfo, session: Session, given: Iterable[Case]) -> Difference:
    """Between a generator, as it is and on its own device, and a graph with both outputs."""
    generator, names = model.networks["generator"], tuple(info.inputs)
    if draws_dropout(model):
        generator.noise = False  # type: ignore[assignment]
    largest, sums, count, levels, sizes = 0.0, 0.0, 0, 0, []
    for case in given:
        values = plain_values(generator, info.model.semantics, case)
        photograph, found = session(feeds(case.inputs, case.style, names))
        gap = np.abs(values.numpy().astype(np.float64) - found)
        gap[~np.isfinite(gap)] = np.inf
        largest, sums, count = max(largest, float(gap.max())), sums + float(gap.sum()), count + gap.size
        levels = max(levels, int(np.abs(to_uint8(values).astype(int) - photograph).max()))
        sizes.append(case.size)
    return Difference(tuple(sizes), largest, sums / count, levels)


def plain_values(generator: torch.nn.Module, semantics: Semantics, case: Case) -> Tensor:
    """What the generator itself gives, (B, 3, H, W) in [-1, 1]."""
    place = next(generator.parameters()).device
    inputs = {name: tensor.to(place) for name, tensor in case.inputs.items()}
    besides = [] if case.style is None else [case.style.to(place)]
    with torch.inference_mode():
        return generator(semantics.encode(inputs), *besides).float().cpu()


def refuse_difference(model: Model, info: ExportedInfo, found: Difference, given: Sequence[Case], where: str) -> None:
    """See that a graph computes what the generator computes; int8 that it shows the same picture.

    Where a network itself rounds badly, as norms over a few equal pixels do, a graph may be as far from it as it is from exact
    arithmetic, some times over.

    Raises:
        ModelFileError: It does not.
    """
    if info.precision == "int8":
        allowed, right = f"{INT8_LIMIT:g} on average in int8", found.mean <= INT8_LIMIT
    else:
        limit, right = FLOAT_LIMIT, _within(found, FLOAT_LIMIT)
        if not right and np.isfinite(found.largest):
            limit = max(FLOAT_LIMIT, ROUNDINGS * _rounding(model, given))
            right = _within(found, limit)
        allowed = f"{limit:.1e}, and {_levels(limit)} of 255 levels"
    if not right:
        raise ModelFileError(
            f"{where} does not compute what the network does: they differ {found}. Allowed: {allowed}. Nothing was written. Try "
            "other versions of onnx, onnxruntime or openvino, or keep to --runtime torch."
        )


def _within(found: Difference, limit: float) -> bool:
    return found.largest <= limit and found.levels <= _levels(limit)


def _levels(limit: float) -> int:
    """Levels of uint8 between two values that far apart, and one more where rounding parts them."""
    return int(127.5 * limit) + 1


def _rounding(model: Model, given: Iterable[Case]) -> float:
    """The largest difference between what a network gives and what it gives in float64."""
    generator, semantics, largest = model.networks["generator"], model.info.semantics, 0.0
    exact = {k: t.double() if t.is_floating_point() else t for k, t in generator.state_dict().items()}
    for case in given:
        style = [] if case.style is None else [case.style.double()]
        with torch.no_grad():
            wanted = functional_call(generator, exact, (semantics.encode(case.inputs).double(), *style))
        gap = plain_values(generator, semantics, case) - wanted
        largest = max(largest, float(gap.abs().max()))
    return largest
