"""Random smooth bending of samples, so that few layouts are not learned by heart.

Katiyar and Khoreva 2020, "Improving Augmentation and Evaluation Schemes for Semantic Image Synthesis" (arXiv 2011.12636),
bend the shapes in the label map that the generator is given and leave everything else as it is, photograph, losses and what
the discriminator sees: they teach the generator to mend shapes. That is `bend_layout` (setting `warp_layout`).

`bend` (setting `warp`) is ours: layout and photograph are bent **alike**, so that every pair that the networks see is a true
one. It keeps the paper's purpose, that the generator meets more shapes than there are layouts, and gives up the mending,
because an editor of layouts wants outlines where they were drawn. That photographs are bent does not carry over to what is
generated for straight layouts: the bend stands in the layout, on which everything is conditioned. (What neither does is to
bend the layout for D too but not the photograph: D would be shown as real what does not fit together.)

The displacement is a cubic B-spline over square cells, `CELLS` of them along the shorter side, its control points drawn evenly
from +-strength/4 of a cell and 0 at the rim, so that nothing comes in from outside. The slope of a B-spline is at most the
largest difference of neighbouring control points over a cell: here strength/2 in each direction, together at most strength.
Up to a strength of 1 nothing can therefore fold, and no class can appear that was not there. Spline, range and share are ours
for both; the paper's warp is a random local deformation likewise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

CELLS = 3  # along the shorter side
SHARE = 0.5  # of the training samples that are bent
Field = npt.NDArray[np.float64]


def bend(item: dict[str, Any], strength: float, rng: np.random.Generator, painted: bool = False) -> None:
    """Bend every map and picture of an item in place by one displacement, or leave them: half of the samples stay straight.

    Args:
        item: Of `gesso.data.dataset`: whole numbers are taken by nearest neighbour, floats in [-1, 1] are interpolated.
        strength: 0..1.
        rng: The sample's own random numbers, behind those for crop and flip.
        painted: Whether "image" is a label map in colours, whose colours may not mix.
    """
    found = {name: value for name, value in item.items() if isinstance(value, Tensor)}
    field = draw(tuple(next(iter(found.values())).shape[-2:]), strength, rng)
    if field is None:
        return
    for name, value in found.items():
        mixing = value.is_floating_point() and not (painted and name == "image")
        item[name] = bend_picture(value, field) if mixing else bend_map(value, field)


def bend_layout(item: dict[str, Any], strength: float, rng: np.random.Generator) -> None:
    """Put a bent copy of an item's layout beside it, which stays as it is; for half of the samples a straight copy.

    Adds, (H, W) int64 each: "seen_label"; "seen_instance" where there is an instance map; "seen_from", for each pixel the
    number (row * W + column) of the pixel that it was taken from, to lay other maps over the bent objects.

    Args:
        item: Of `gesso.data.dataset`, with a label map.
        strength: 0..1.
        rng: The sample's own random numbers, behind all others.
    """
    label: Tensor = item["label"]
    maps = {"label": label, "from": torch.arange(label.numel()).view_as(label)}
    if "instance" in item:
        maps["instance"] = item["instance"]
    field = draw(tuple(label.shape), strength, rng)
    for name, values in maps.items():
        item[f"seen_{name}"] = values if field is None else bend_map(values, field)


def lay(values: Tensor, places: Tensor) -> Tensor:
    """(B, C, H, W) over bent objects: each pixel gets what its origin has, by the "seen_from" (B, H, W) of a batch."""
    origin = places.flatten(1).unsqueeze(1).expand(-1, values.shape[1], -1)  # (B, C, H * W)
    return values.flatten(2).gather(2, origin).view(values.shape)


def draw(size: tuple[int, ...], strength: float, rng: np.random.Generator) -> Field | None:
    """A displacement for one sample, or None for the half of the samples that stay straight.

    Args:
        size: (height, width) in pixels.
        strength: 0..1, the largest slope of the displacement.
        rng: The sample's own random numbers.

    Returns:
        (2, H, W): by how many pixels below and to the right of itself each pixel finds its value.
    """
    if rng.random() >= SHARE:
        return None
    cell = min(size) / CELLS
    rows, columns = (max(1, round(side / cell)) for side in size)
    points = rng.uniform(-1, 1, (2, rows + 1, columns + 1)) * strength / 4
    points[:, [0, -1]] = points[:, :, [0, -1]] = 0
    smaller = min(size[0] / rows, size[1] / columns)  # side of a cell in pixels: they are square but for rounding
    return np.asarray(_spline(size[0], rows) @ points @ _spline(size[1], columns).T * smaller)


def bend_map(values: Tensor, field: Field) -> Tensor:
    """(..., H, W) of anything, by nearest neighbour: no new value appears."""
    high, wide = values.shape[-2:]
    rows, columns = np.indices((high, wide)) + np.rint(field).astype(np.int64)
    return values[..., torch.from_numpy(rows.clip(0, high - 1)), torch.from_numpy(columns.clip(0, wide - 1))]


def bend_picture(picture: Tensor, field: Field) -> Tensor:
    """(C, H, W) of floats in [-1, 1], by bicubic interpolation, kept within [-1, 1]."""
    high, wide = picture.shape[1:]
    rows, columns = np.indices((high, wide)) + field + 0.5
    places = np.stack([columns / wide, rows / high], axis=-1) * 2 - 1  # (H, W, 2) in grid_sample's -1..1
    grid = torch.from_numpy(places).to(picture.dtype).unsqueeze(0)
    bent = F.grid_sample(picture.unsqueeze(0), grid, "bicubic", "border", align_corners=False)
    return bent.squeeze(0).clamp_(-1, 1)


def _spline(pixels: int, cells: int) -> Field:
    """(pixels, cells + 1): weights of the control points at each pixel's centre; the curve is odd about both ends."""
    place = (np.arange(pixels) + 0.5) / pixels * cells
    distance = np.abs(place[:, None] - np.arange(-1, cells + 2))  # one more point beyond each end
    weights = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6)
    weights[:, 2] -= weights[:, 0]  # the point beyond the end is minus the one inside
    weights[:, -3] -= weights[:, -1]
    return np.asarray(weights[:, 1:-1])
