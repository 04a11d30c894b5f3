"""Fréchet and kernel distances: closed forms, torchmetrics, bias, memory, intervals."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from gesso.errors import DataError
from gesso.evaluate.fid import Moments, RunningMoments, frechet, frechet_distance, kernel_distance, kid
from gesso.evaluate.intervals import equal_size_estimate, mean_estimate, percentiles


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def moments(features: np.ndarray) -> Moments:
    return Moments(len(features), features.mean(0), np.cov(features, rowvar=False))


# --- Fréchet distance ---


def test_of_two_gaussians_that_share_their_axes() -> None:
    """Sum over axes of (m1 - m2)^2 + (s1 - s2)^2, also after a rotation."""
    mean1, mean2 = np.array([0.0, 1.0, -2.0, 0.5]), np.array([1.0, 1.0, 0.0, 0.5])
    wide1, wide2 = np.array([1.0, 2.0, 0.5, 3.0]), np.array([1.5, 0.2, 0.5, 0.0])
    expected = np.square(mean1 - mean2).sum() + np.square(wide1 - wide2).sum()
    turn = linalg.qr(noise(4, 4))[0]
    for axes in (np.eye(4), turn):
        first = Moments(9, axes @ mean1, axes @ np.diag(wide1**2) @ axes.T)
        second = Moments(9, axes @ mean2, axes @ np.diag(wide2**2) @ axes.T)
        assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-12)
        assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-12)


def test_of_any_two_gaussians() -> None:
    """The formula with SciPy's root of the product."""
    first, second = moments(noise(50, 6, seed=1) @ noise(6, 6, seed=2)), moments(noise(60, 6, seed=3) + 0.3)
    root = linalg.sqrtm(first.covariance @ second.covariance).real
    expected = np.square(first.mean - second.mean).sum() + np.trace(first.covariance + second.covariance - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_of_points_and_of_a_point() -> None:
    """Covariances of zero: the distance of the means."""
    nothing = np.zeros((3, 3))
    first, second = Moments(5, np.zeros(3), nothing), Moments(5, np.array([1.0, 2.0, 2.0]), nothing)
    assert frechet_distance(first, second) == pytest.approx(9.0)
    spread = Moments(5, np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    assert frechet_distance(first, spread) == pytest.approx(14.0)
    assert frechet(np.ones((4, 3)), np.zeros((4, 3))) == pytest.approx(3.0)


@pytest.mark.parametrize(("count", "other", "dimension"), [(12, 15, 40), (200, 150, 10), (30, 100, 40)])
def test_from_features_as_from_their_moments(count: int, other: int, dimension: int) -> None:
    """Fewer pictures than dimensions, more, and one of each."""
    x, y = (
        noise(count, dimension, seed=4) * 3 + 100,
        noise(other, dimension, seed=5) @ noise(dimension, dimension) + 100,
    )
    assert frechet(x, y) == pytest.approx(frechet_distance(moments(x), moments(y)), rel=1e-7)


def test_zero_against_itself_and_never_below() -> None:
    """2,048 dimensions of unequal scale from few pictures, as with Inception."""
    x = (noise(24, 2048, seed=6) * np.logspace(-6, 3, 2048)).astype(np.float32)
    assert 0 <= frechet(x, x) <= 1e-9 * np.square(x).sum()
    assert 0 <= frechet(x, x[::-1]) <= 1e-9 * np.square(x).sum()
    assert frechet(x, x + 1) == pytest.approx(2048, rel=1e-4)


class Colours(nn.Module):
    """(B, 3, H, W) uint8 -> (B, 12): means of the quarters, as a feature extractor of torchmetrics."""

    num_features = 12

    def forward(self, pictures: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(pictures.double(), 2).flatten(1)


def pictures(count: int, seed: int, brighter: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 200, (count, 3, 4, 4), generator=random).add(brighter).to(torch.uint8)


def test_against_torchmetrics() -> None:
    network, real, made = Colours(), pictures(40, 0), pictures(30, 1, brighter=25)
    fid = FrechetInceptionDistance(feature=network).set_dtype(torch.float64)
    fid.update(real, real=True)
    fid.update(made, real=False)
    ours = frechet(network(real).numpy(), network(made).numpy())
    assert ours == pytest.approx(fid.compute().item(), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all:UserWarning")
def test_kernel_distance_against_torchmetrics() -> None:
    network, real, made = Colours(), pictures(30, 2), pictures(30, 3, brighter=25)
    theirs = KernelInceptionDistance(feature=network, subsets=1, subset_size=30).set_dtype(torch.float64)
    theirs.update(real, real=True)
    theirs.update(made, real=False)
    ours = kernel_distance(network(real).numpy(), network(made).numpy())
    assert ours == pytest.approx(theirs.compute()[0].item(), rel=1e-9)


# --- moments, a batch at a time ---


def test_moments_batch_by_batch() -> None:
    """Far from the origin, in uneven batches, one of them empty."""
    x = noise(101, 7, seed=7) * 0.01 + 1e5
    running = RunningMoments(7)
    for batch in (x[:1], x[1:50], x[50:50], x[50:97], x[97:]):
        running.update(batch)
    found = running.moments()
    assert found.count == 101
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-6, atol=1e-12)


def test_moments_take_the_memory_of_a_batch() -> None:
    def peak(batches: int) -> int:
        running, batch = RunningMoments(16), noise(500, 16)
        tracemalloc.start()
        for _ in range(batches):
            running.update(batch)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(100) < 1.5 * peak(2)


# --- kernel distance ---


def test_kernel_distance_by_hand() -> None:
    """Two numbers a side: k(x, y) = (xy + 1)^3; the mean over different ones, and over all across."""
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [-1.0]])
    assert kernel_distance(x, y) == 27 + 1 - 2 * (1 + 0 + 1 - 1) / 4


def true_distance(low: float, high: float) -> float:
    """Between uniform numbers in 0..1 and in low..high: k = x³y³ + 3x²y² + 3xy + 1, so moments tell it."""

    def moment(power: int, low: float, high: float) -> float:
        return (high ** (power + 1) - low ** (power + 1)) / ((power + 1) * (high - low))

    gaps = [moment(power, 0, 1) - moment(power, low, high) for power in (1, 2, 3)]
    return 3 * gaps[0] ** 2 + 3 * gaps[1] ** 2 + gaps[2] ** 2


def test_true_distance() -> None:
    """By the mean of the kernel over a fine grid."""
    x, y = np.linspace(0, 1, 401)[:, None], np.linspace(0.2, 1.4, 401)[:, None]
    kernel = [np.mean((a @ b.T + 1) ** 3) for a, b in ((x, x), (y, y), (x, y))]
    assert kernel[0] + kernel[1] - 2 * kernel[2] == pytest.approx(true_distance(0.2, 1.4), rel=0.02)


@pytest.mark.parametrize(("low", "high", "bias"), [(0.0, 1.0, 0.124), (0.2, 1.4, 0.236)])
def test_kernel_distance_is_unbiased_over_1000_draws(low: float, high: float, bias: float) -> None:
    """Between equal and unequal worlds, from 8 and 12 pictures; within three standard errors of the truth.

    The bias is what counting each picture with itself would add: (E k(x, x) - E k(x, x')) / 8 and the like / 12.
    """
    random = np.random.default_rng(8)
    found = [kernel_distance(random.random((8, 1)), random.uniform(low, high, (12, 1))) for _ in range(1000)]
    error = np.std(found) / np.sqrt(1000)
    assert abs(np.mean(found) - true_distance(low, high)) < 3 * error < bias


def test_kid_over_subsets() -> None:
    x, y = noise(60, 5, seed=9), noise(50, 5, seed=10) + 0.5
    whole = kid(x, x + 1, subset_size=1000)
    assert (whole.subsets, whole.subset_size, whole.deviation) == (1, 60, 0.0)
    assert whole.mean == pytest.approx(kernel_distance(x, x + 1), rel=1e-12)
    parts = kid(x, y, subsets=400, subset_size=20, seed=1)
    assert (parts.subsets, parts.subset_size) == (400, 20)
    assert abs(parts.mean - kernel_distance(x, y)) < 4 * parts.deviation / 20
    assert parts == kid(x, y, subsets=400, subset_size=20, seed=1)
    assert parts != kid(x, y, subsets=400, subset_size=20, seed=2)


# --- what is refused ---


@pytest.mark.parametrize("measure", [frechet, kernel_distance, kid])
@pytest.mark.parametrize("side", [0, 1])
def test_one_picture_or_none(measure: object, side: int) -> None:
    assert callable(measure)
    for count in (0, 1):
        sides = [noise(5, 3), noise(5, 3)]
        sides[side] = noise(count, 3)
        with pytest.raises(DataError, match=f"2 or more of each; there is {count}"):
            measure(*sides)


@pytest.mark.parametrize("measure", [frechet, kernel_distance, kid])
def test_features_that_are_not_finite(measure: object) -> None:
    assert callable(measure)
    for broken in (np.nan, np.inf):
        x = noise(5, 3)
        x[2, 1] = broken
        with pytest.raises(DataError, match=r"1 pictures are not finite, the first that of picture 3"):
            measure(noise(5, 3), x)
    running = RunningMoments(3)
    with pytest.raises(DataError, match="not finite"):
        running.update(x)
    with pytest.raises(DataError, match="there is 0"):
        running.moments()


# --- intervals ---


def test_percentiles_leave_out_what_is_no_number() -> None:
    assert percentiles(np.append(np.arange(101.0), np.nan), 0.9) == pytest.approx((5.0, 95.0))
    with pytest.raises(DataError, match="None of 2 draws"):
        percentiles(np.full(2, np.nan), 0.9)


def test_mean_estimate() -> None:
    found = mean_estimate(np.array([1.0, 2.0, 3.0, 6.0]))
    assert found.value == 3.0
    assert 1.0 <= found.interval.low < 3.0 < found.interval.high <= 6.0
    assert (found.pictures, found.resamples, found.level) == (4, 1000, 0.95)
    with pytest.raises(DataError, match="2 or more"):
        mean_estimate(np.ones(1))


def mean_gap(x: np.ndarray, y: np.ndarray) -> float:
    return float(x.mean() - y.mean())


def test_equal_size_estimate_of_everything_is_the_measure_itself() -> None:
    x, y = noise(30, 4, seed=11), noise(30, 4, seed=12) + 0.2
    found = equal_size_estimate(frechet, x, y, resamples=20, lowest=0.0)
    assert found.value == frechet(x, y)
    assert found.pictures == 30
    assert 0 <= found.interval.low < found.value < found.interval.high
    assert found == equal_size_estimate(frechet, x, y, resamples=20, lowest=0.0)


def test_intervals_of_halves_are_as_wide_as_they_should_be() -> None:
    """For the difference of two means the deviation is known: sqrt(1/n + 1/n)."""
    x, y = noise(400, 1, seed=13), noise(400, 1, seed=14)
    low, high = equal_size_estimate(mean_gap, x, y, resamples=2000).interval
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(2 / 400), rel=0.15)


def test_paired_rows_are_drawn_together() -> None:
    x = noise(50, 1, seed=15)
    low, high = equal_size_estimate(mean_gap, x, x + 1, paired=True).interval
    assert (low, high) == pytest.approx((-1, -1))
    low, high = equal_size_estimate(mean_gap, x, x + 1).interval
    assert high - low > 0.1


def test_every_model_is_measured_at_the_same_size() -> None:
    """Fréchet distances fall with the number of pictures; at one size a larger set has no advantage."""
    real, small, large = noise(400, 12, seed=16), noise(60, 12, seed=17), noise(400, 12, seed=18)
    assert frechet(real, small) > 2 * frechet(real, large)
    at_60 = [equal_size_estimate(frechet, real, side, size=60, resamples=4).value for side in (small, large)]
    assert at_60[0] == pytest.approx(at_60[1], rel=0.25)


@pytest.mark.parametrize(("size", "paired"), [(3, False), (31, False), (10, True)])
def test_sizes_that_cannot_be_taken(size: int, paired: bool) -> None:
    with pytest.raises(DataError, match="30"):
        equal_size_estimate(frechet, noise(30, 2), noise(40, 2), size=size, paired=paired)
