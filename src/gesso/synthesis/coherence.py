"""Which modes occur together in photographs, so that what a style leaves to chance fits together.

Modes that are drawn for each object by itself, as published, put the snow of one photograph under the sunset of another. One
class leads here, of those that are not countable the one that most photographs show: its mode is drawn, and every other object
gets one of the modes that its class has in photographs where the leading class has that mode, the more frequent the likelier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Assigned(Protocol):
    """The modes of a class: which objects belong to which."""

    @property
    def rows(self) -> Integers:
        """(N,) numbers of the objects."""

    @property
    def assigned(self) -> Integers:
        """(N,) the mode of each."""

    def __len__(self) -> int:
        """How many modes."""


def leading(found: Mapping[int, Assigned], items: Integers, areas: Integers) -> int:
    """The class that most photographs show; of equals the one with the most pixels.

    Args:
        found: Modes by class index, at least of one class; countable ones have many looks in one photograph and cannot lead.
        items: (M,) the photograph of each object.
        areas: (M,) its pixels.
    """
    seen = {index: (len(np.unique(items[of.rows])), int(areas[of.rows].sum())) for index, of in found.items()}
    return max(sorted(seen), key=lambda index: seen[index])


def together(found: Mapping[int, Assigned], leader: int, items: Integers, areas: Integers) -> dict[int, Integers]:
    """How often modes meet: for each class (K, K'), objects of its K modes in photographs whose leading mode is one of K'.

    Args:
        found: Modes by class index.
        leader: The leading class; the mode of its largest object stands for a photograph.
        items: (M,) the photograph of each object.
        areas: (M,) its pixels.
    """
    leads = found[leader]
    order = np.argsort(areas[leads.rows], kind="stable")  # the largest last, so that it stays
    of_photograph = np.full(int(items.max()) + 1, -1)
    of_photograph[items[leads.rows[order]]] = leads.assigned[order]
    counts = {}
    for index, modes in found.items():
        led = of_photograph[items[modes.rows]]
        counts[index] = np.zeros((len(modes), len(leads)), np.int64)
        np.add.at(counts[index], (modes.assigned[led >= 0], led[led >= 0]), 1)
    return counts


def pick(rng: np.random.Generator, weights: Integers | None, modes: int) -> int:
    """One of so many modes: by their weights, or each as likely as the others where there are none."""
    if weights is None or not weights.any():
        return int(rng.integers(modes))
    return int(rng.choice(modes, p=weights / weights.sum()))
