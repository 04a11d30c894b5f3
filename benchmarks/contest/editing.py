"""Small edits: rendering them apart from whole pictures, and how far that is off with a trained model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

import gesso
from contest.layouts import Layout, load
from gesso.demo_model import shipped_model
from gesso.synthesis.edit_session import TOLERANCES, difference
from gesso.synthesis.fast import fast
from gesso.synthesis.fast.edits import EditingPix2pixHD

SCENES = 8
SIZE = (256, 512)


class Editing:
    """Renders a layout when it is prepared for it, and when it is called the same layout with a small edit."""

    plain = False

    def __init__(self, network: nn.Module, mode: str, indexed: Callable[[dict[str, Tensor]], Any]) -> None:
        self.editing, self.indexed = EditingPix2pixHD(fast(network)), indexed
        self.mode, self.tolerance = mode, TOLERANCES[mode]

    def prepare(self, layout: Layout) -> None:
        self.editing.render(self.indexed({"label": layout.label, "instance": layout.instance}))

    def __call__(self, layout: Layout, number: int) -> Tensor:
        edited = layout.edited(number)
        semantics = self.indexed({"label": edited.label, "instance": edited.instance})
        found = self.editing.edited(semantics, mode=self.mode, tolerance=self.tolerance)
        return self.editing.render(semantics) if found is None else found.picture


def of_trained(size: tuple[int, int] = SIZE, scenes: int = SCENES) -> dict[str, dict[str, float]]:
    """Differences from the exact photograph, in levels of 255, of the model of `gesso demo` on toy scenes: means over them."""
    session = gesso.load(shipped_model(), device="cpu").editing_session()
    found: dict[str, list[tuple[float, float, float]]] = {mode: [] for mode in TOLERANCES}
    for number, layout in enumerate(load(None, size, scenes)):
        before, after = (
            (one.label[0].numpy(), one.instance[0].numpy()) for one in (layout, layout.edited(number, of_scene=True))
        )
        exact = session.render(*after)
        session.render(*before)
        for mode, rows in found.items():
            edited = session.edited(*after, mode=mode)
            off = difference(edited.picture, exact)
            rows.append((off.mean, off.largest, edited.estimate))
    names = ("mean", "largest", "estimate")
    return {mode: dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)) for mode, rows in found.items()}
