"""Precision, recall, density and coverage on clouds whose answers are known, and against plain loops."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gesso.errors import DataError
from gesso.evaluate import neighbours
from gesso.evaluate.neighbours import NeighbourScores, neighbour_scores, squared_reach


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def by_loops(real: np.ndarray, made: np.ndarray, k: int) -> NeighbourScores:
    def gap(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b))

    def reach(cloud: np.ndarray) -> list[float]:
        return [sorted(gap(a, b) for j, b in enumerate(cloud) if j != i)[k - 1] for i, a in enumerate(cloud)]

    real_reach, made_reach = reach(real), reach(made)
    inside = np.array([[gap(x, y) <= r for y in made] for x, r in zip(real, real_reach, strict=True)])
    inside_made = np.array([[gap(x, y) <= r for y, r in zip(made, made_reach, strict=True)] for x in real])
    return NeighbourScores(
        precision=float(inside.any(0).mean()),
        recall=float(inside_made.any(1).mean()),
        density=float(inside.sum() / (k * len(made))),
        coverage=float(inside.any(1).mean()),
        neighbours=k,
    )


def approximately(scores: NeighbourScores) -> object:
    return pytest.approx((scores.precision, scores.recall, scores.density, scores.coverage))


def numbers(scores: NeighbourScores) -> tuple[float, float, float, float]:
    return scores.precision, scores.recall, scores.density, scores.coverage


@pytest.mark.parametrize("k", [1, 3, 5])
def test_against_loops(k: int) -> None:
    real, made = noise(25, 3, seed=1), noise(18, 3, seed=2) * 0.7 + 0.3
    assert numbers(neighbour_scores(real, made, k)) == approximately(by_loops(real, made, k))


def test_far_clouds_share_nothing() -> None:
    assert numbers(neighbour_scores(noise(20, 2), noise(20, 2, seed=1) + 100)) == (0, 0, 0, 0)


def test_a_cloud_against_itself_is_perfect() -> None:
    """Also far from the origin, in float32, and with pictures that occur several times; density: k others and itself."""
    cloud = (noise(40, 6) + 1e3).astype(np.float32)
    assert numbers(neighbour_scores(cloud, cloud)) == pytest.approx((1, 1, 6 / 5, 1))
    often = np.concatenate([noise(40, 500) + 1e3] * 8)  # balls of no reach, distances near zero
    found = neighbour_scores(often, often)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_one_good_picture_over_and_over_is_precise_and_knows_nothing() -> None:
    """Mode collapse onto the middle of the photographs: precision 1, recall 0, little coverage."""
    real = noise(50, 2, seed=3)
    found = neighbour_scores(real, np.zeros((50, 2)) + 1e-3)
    assert found.precision == 1
    assert found.recall == 0
    assert 0 < found.coverage < 0.2


def test_a_half_of_the_world_missing() -> None:
    """Photographs of two kinds, results of one: precise, half recalled, half covered."""
    near, far = noise(40, 2, seed=4), noise(40, 2, seed=5) + 50
    found = neighbour_scores(np.concatenate([near, far]), noise(80, 2, seed=6))
    assert found.precision > 0.9
    assert 0.4 < found.recall <= 0.5
    assert 0.4 < found.coverage <= 0.5


def test_density_of_equal_worlds_is_one() -> None:
    found = [neighbour_scores(noise(60, 3, seed=s), noise(60, 3, seed=s + 100)).density for s in range(30)]
    assert np.mean(found) == pytest.approx(1, abs=0.06)


def test_reach_is_to_the_kth_other() -> None:
    assert squared_reach(np.array([[0.0], [1.0], [3.0], [7.0]]), 2).tolist() == [9, 4, 9, 36]


@pytest.mark.parametrize("chunk", [1, 40, 100, 10**6])
def test_chunks_do_not_change_anything(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = noise(33, 4, seed=7), noise(21, 4, seed=8)
    expected = numbers(neighbour_scores(real, made, 3))
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    assert numbers(neighbour_scores(real, made, 3)) == pytest.approx(expected)


def test_distances_are_never_held_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 x 2,000 of them would be 32 MB."""
    monkeypatch.setattr(neighbours, "CHUNK", 2**16)
    real, made = noise(2000, 4), noise(2000, 4, seed=1)
    tracemalloc.start()
    neighbour_scores(real, made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_what_is_refused() -> None:
    few, many = noise(5, 2), noise(9, 2)
    with pytest.raises(DataError, match=r"5 real pictures have no 5-th nearest"):
        neighbour_scores(few, many)
    with pytest.raises(DataError, match=r"1 generated pictures have no 1-th nearest"):
        neighbour_scores(many, few[:1], 1)
    broken = many.copy()
    broken[4] = np.nan
    with pytest.raises(DataError, match=r"generated pictures.*the first that of picture 5"):
        neighbour_scores(many, broken)
    with pytest.raises(DataError, match="expected \\(pictures, dimension\\)"):
        neighbour_scores(many, broken[None])
