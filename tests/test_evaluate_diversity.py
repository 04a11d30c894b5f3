"""Diversity with distances that can be computed in the head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from gesso.errors import DataError
from gesso.evaluate.diversity import LayoutDiversity, diversity, layout_diversity


class Gap:
    """Mean absolute difference in levels, over the mask; remembers how many pairs came at once."""

    name = "gap"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, first: Tensor, second: Tensor, mask: Tensor | None = None) -> Tensor:
        self.batches.append(len(first))
        apart = (first - second).abs().mean(1) * 127.5
        share = torch.ones_like(apart) if mask is None else mask.to(apart.dtype)
        return (apart * share).sum((1, 2)) / share.sum((1, 2))


def flat(*levels: int) -> np.ndarray:
    return np.array(levels, np.uint8)[:, None, None, None] + np.zeros((1, 4, 6, 3), np.uint8)


def test_mean_over_all_pairs() -> None:
    """Levels 10, 20, 50: gaps 10, 40, 30."""
    found = layout_diversity(flat(10, 20, 50), Gap())
    assert found.picture == pytest.approx(80 / 3, rel=1e-5)
    assert found.results == 3
    assert found.classes == {}


def test_equal_results_have_none() -> None:
    assert layout_diversity(flat(7, 7, 7), Gap()).picture == 0


def test_inside_classes() -> None:
    """Only the left half differs; class 2 is in no pixel and passed over; class 5 (ignored) was not asked for."""
    results = flat(0, 0)
    results[1, :, :3] = 30
    label = np.repeat([[0, 0, 0, 1, 1, 5]], 4, axis=0)
    found = layout_diversity(results, Gap(), label, classes=(0, 1, 2))
    assert found.classes == {0: pytest.approx(30, rel=1e-5), 1: 0}
    assert found.picture == pytest.approx(15, rel=1e-5)


def test_few_pairs_at_a_time() -> None:
    distance = Gap()
    layout_diversity(flat(*range(8)), distance)
    assert sum(distance.batches) == 28
    assert max(distance.batches) <= 4


def test_over_layouts() -> None:
    layouts = [
        LayoutDiversity(1.0, {0: 2.0}, 4),
        LayoutDiversity(3.0, {0: 4.0, 1: 7.0}, 4),
        LayoutDiversity(5.0, {}, 3),
    ]
    found = diversity(layouts, ("road", "car", "lamp"), "gap")
    assert found.picture.value == 3.0
    assert 1 <= found.picture.interval.low < 3 < found.picture.interval.high <= 5
    assert found.classes == {"road": (3.0, 2), "car": (7.0, 1)}
    assert (found.layouts, found.results, found.distance) == (3, 3, "gap")


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="there is 1"):
        layout_diversity(flat(1), Gap())
    with pytest.raises(DataError, match="float32"):
        layout_diversity(flat(1, 2).astype(np.float32), Gap())
    with pytest.raises(DataError, match=r"The layout is \(6, 4\), its results are \(4, 6\)"):
        layout_diversity(flat(1, 2), Gap(), np.zeros((6, 4), int), (0,))
    with pytest.raises(DataError, match="2 or more; there is 1"):
        diversity([LayoutDiversity(1.0, {}, 2)], (), "gap")
    with pytest.raises(DataError, match="layout 2 have no finite distance"):
        diversity([LayoutDiversity(1.0, {}, 2), LayoutDiversity(float("nan"), {}, 2)], (), "gap")
