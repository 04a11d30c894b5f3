"""What callers hand in (layouts, input pictures, photographs) to tensors, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gesso.agreement import refuse_foreign_instances
from gesso.errors import ConfigError, DataError, LabelError
from gesso.labels import LabelSpace, components

Batch = dict[str, Tensor]
Integers = npt.NDArray[np.integer[Any]]

LARGEST_SEED = 2**63 - 1
NO_INSTANCES = "No instance map was given: touching objects of a class count as one."


def read_layouts(
    labels: npt.ArrayLike,
    instances: npt.ArrayLike | None,
    space: LabelSpace,
    needs_instances: bool,
    say: Callable[[str], None],
) -> tuple[Batch, bool]:
    """Layouts as `label` and, where needed, `instance`, each (B, H, W) int64; and whether it was a single one.

    Args:
        labels: (H, W) or (B, H, W) class indices.
        instances: Object ids of the same shape; without them connected components of the countable classes.
        space: The classes.
        needs_instances: Whether instance maps are of use.
        say: Told when components stand in for objects.

    Raises:
        LabelError: An index is not in the label space, shapes differ, or the maps do not belong together.
    """
    label = np.asarray(labels)
    if label.ndim not in (2, 3) or not label.size or not np.issubdtype(label.dtype, np.integer):
        raise LabelError(
            f"A layout is (H, W) or (B, H, W) integers; {label.dtype} of shape {label.shape} came. Read label files with "
            "gesso.data.readers.read_label."
        )
    stack = label[None] if label.ndim == 2 else label
    _check_indices(stack, space)
    stack = stack.astype(np.int64)
    batch = {"label": torch.from_numpy(stack)}
    if needs_instances:
        found = _given_instances(stack, instances, label.shape, space) if instances is not None else None
        if found is None:
            say(NO_INSTANCES)
            found = np.stack([components(one, space) for one in stack]).astype(np.int64)
        batch["instance"] = torch.from_numpy(found)
    return batch, label.ndim == 2


def _check_indices(labels: Integers, space: LabelSpace) -> None:
    wrong = (labels < 0) | (labels > len(space))
    if wrong.any():
        place = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise LabelError(
            f"Index {labels[place]} at {place[-2:]} (row, column) is not in {space.name}: its {len(space)} classes have indices "
            f"0..{len(space) - 1}, ignored pixels {len(space)}. File values become indices with LabelSpace.to_indices."
        )


def _given_instances(
    stack: npt.NDArray[np.int64], instances: npt.ArrayLike, shape: tuple[int, ...], space: LabelSpace
) -> npt.NDArray[np.int64]:
    given = np.asarray(instances)
    if not np.issubdtype(given.dtype, np.integer):
        raise LabelError(
            f"An instance map holds integers, one object id per pixel; {given.dtype} of shape {given.shape} came. Read "
            "instance files with gesso.data.readers.read_instance."
        )
    if given.shape != shape:
        raise LabelError(f"The instance map has shape {given.shape}, the label map {shape}: they must be equal.")
    if not -(2**31) <= given.min() <= given.max() < 2**32:
        raise LabelError(f"The instance map holds ids {given.min()}..{given.max()}; allowed are those of 32 bits.")
    given = given.reshape(stack.shape).astype(np.int64)
    for label, instance in zip(stack, given, strict=True):
        refuse_foreign_instances(label, instance, space)
    return given


def read_pictures(pictures: npt.ArrayLike, channels: int) -> tuple[Batch, bool]:
    """Input pictures of a photo-to-photo model as `source` (B, N, H, W) in [-1, 1]; and whether it was a single one.

    Raises:
        DataError: The picture has another number of channels, or values that have no scale.
    """
    array = np.asarray(pictures)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim not in (3, 4) or array.shape[-1] != channels or not array.size:
        raise DataError(
            f"This model takes pictures (H, W, {channels}) or (B, H, W, {channels}); an array of shape "
            f"{np.shape(pictures)} came."
        )
    whole = np.issubdtype(array.dtype, np.integer)
    fraction = array / np.iinfo(array.dtype).max if whole else array.astype(np.float64)
    if not (fraction.min() >= 0 and fraction.max() <= 1):
        allowed = f"0..{np.iinfo(array.dtype).max}" if whole else "0..1"
        raise DataError(f"The picture holds {array.dtype} values {array.min()}..{array.max()}; allowed: {allowed}.")
    scaled = torch.from_numpy((fraction * 2 - 1).astype(np.float32))
    single = scaled.ndim == 3
    return {"source": (scaled[None] if single else scaled).movedim(-1, 1)}, single


def refuse_seed(seed: object, last: int = LARGEST_SEED) -> None:
    """See that random numbers can be drawn from a seed.

    Raises:
        ConfigError: It is no whole number, or outside 0..last.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= last:
        raise ConfigError(f"The seed is {seed!r}; give a whole number from 0 to {last}.")


def read_photograph(image: npt.ArrayLike) -> Tensor:
    """A photograph (H, W, 3) uint8 as (3, H, W) in [-1, 1].

    Raises:
        DataError: It is no such array.
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise DataError(f"A photograph is (H, W, 3) uint8; {array.dtype} of shape {array.shape} came.")
    pixels = torch.tensor(array).permute(2, 0, 1).contiguous()  # (3, H, W)
    return pixels.float().div_(255).sub_(0.5).div_(0.5)  # the order of operations of training


def pad(values: Tensor, multiple: int, smallest: int, single: bool = True) -> Tensor:
    """Reflect (..., H, W) at the right and the bottom up to a size that the network takes.

    Args:
        values: (..., H, W).
        multiple: What height and width become multiples of.
        smallest: The least of both.
        single: Whether one multiple by one is taken; if not, the width becomes two.
    """
    high, wide = (max(-(-n // multiple) * multiple, smallest) for n in values.shape[-2:])
    wide += multiple if high == wide == multiple and not single else 0
    height, width = high - values.shape[-2], wide - values.shape[-1]
    if not height and not width:
        return values
    edges = [(0, 0)] * (values.ndim - 2) + [(0, height), (0, width)]
    return torch.from_numpy(np.pad(values.numpy(), edges, mode="symmetric" if 1 in values.shape[-2:] else "reflect"))
