"""The measure of repeated patterns, on pictures whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from gesso.errors import DataError
from gesso.evaluate.repetition import WINDOW, repetition

Plane = npt.NDArray[np.float64]
HEIGHT, WIDTH = 128, 256


def score(luminance: Plane) -> float:
    grey = np.clip(luminance, 0, 255).round().astype(np.uint8)
    (found,) = repetition(np.repeat(grey[None, ..., None], 3, axis=-1))
    return float(found)


def noise(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Plane:
    return np.random.default_rng(seed).normal(size=(height, width))


def tiled(period: int, seed: int = 0) -> Plane:
    tile = noise(seed, period, period)
    return np.tile(tile, (HEIGHT // period + 1, WIDTH // period + 1))[:HEIGHT, :WIDTH]


@pytest.mark.parametrize("period", [3, 4, 7, 8, 16, 24, WINDOW // 2])
def test_tiles_repeat(period: int) -> None:
    assert score(128 + 40 * tiled(period)) > 0.85


def test_stripes_repeat() -> None:
    columns = np.arange(WIDTH)[None].repeat(HEIGHT, axis=0)
    assert score(128 + 60 * np.sin(2 * np.pi * columns / 9)) > 0.85
    assert score(128 + 60 * np.sin(2 * np.pi * columns.T[:HEIGHT, :HEIGHT] / 9)) > 0.85


@pytest.mark.parametrize("contrast", [5, 40, 500])
def test_noise_does_not(contrast: float) -> None:
    assert score(128 + contrast * noise()) < 0.02


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
def test_smooth_shades_do_not(step: float) -> None:
    """Their rounding to whole numbers makes steps that repeat, but nobody sees them."""
    assert score(np.arange(WIDTH)[None].repeat(HEIGHT, axis=0) * step) < 0.02
    assert score(np.full((HEIGHT, WIDTH), 7.0)) == 0


def test_single_edges_do_not() -> None:
    picture = np.full((HEIGHT, WIDTH), 100.0)
    picture[:, 100:103] = 220
    picture[60:64] = 30
    assert score(picture) < 0.1, "an edge is like itself along itself, which is a ridge and no peak"


def test_more_of_a_pattern_scores_higher() -> None:
    mixed = [score(128 + 30 * (np.sqrt(a) * tiled(8, 1) + np.sqrt(1 - a) * noise(2))) for a in (0, 0.25, 0.5, 0.75, 1)]
    assert mixed == sorted(mixed)
    assert mixed[0] < 0.02 < 0.1 < mixed[1]
    half = np.where(np.arange(WIDTH) < WIDTH // 2, 128 + 30 * tiled(8), 128.0)
    assert score(half) == pytest.approx(score(128 + 30 * tiled(8)) / 2, abs=0.03), "the mean over windows"


def test_contrast_and_brightness_change_little() -> None:
    picture = np.sqrt(0.5) * (tiled(8, 1) + noise(2))
    assert score(60 + 15 * picture) == pytest.approx(score(160 + 25 * picture), abs=0.02)


def test_pictures_are_measured_each_by_itself() -> None:
    pictures = np.random.default_rng(3).integers(0, 256, (3, 70, 90, 3)).astype(np.uint8)
    pictures[1] = np.tile(pictures[1, :10, :10], (7, 9, 1))
    together = repetition(pictures)
    assert together.shape == (3,)
    assert together.dtype == np.float64
    np.testing.assert_array_equal(together, [repetition(one[None])[0] for one in pictures])
    assert together[1] > 0.8 > 0.05 > max(together[0], together[2])


def test_small_and_large_pictures() -> None:
    assert score(128 + 40 * tiled(4)[:20, :17]) > 0.5
    large = np.tile(128 + 40 * tiled(8), (3, 3))
    assert score(large) == pytest.approx(score(128 + 40 * tiled(8)), abs=0.02)


@pytest.mark.parametrize("shape", [(1, 15, 64, 3), (1, 64, 64), (1, 64, 64, 1), (64, 64, 3)])
def test_what_is_no_pictures_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"Repeated patterns are looked for in pictures \(B, H, W, 3\) of 16 pixels"):
        repetition(np.zeros(shape, np.uint8))


def test_photographs_hardly_repeat_until_a_pattern_is_laid_over_them(camvid: Path) -> None:
    files = sorted((camvid / "val" / "images").iterdir())[:4]
    real = np.stack([np.asarray(Image.open(file).convert("RGB").resize((WIDTH, HEIGHT))) for file in files])
    found = repetition(real)
    assert (found < 0.2).all()
    smooth = gaussian_filter(real.astype(float), (0, 2, 2, 0))
    overlaid = [np.clip(smooth + strength * tiled(8)[..., None], 0, 255).astype(np.uint8) for strength in (3, 6, 12)]
    means = [repetition(pictures).mean() for pictures in overlaid]
    assert found.mean() < means[0] < means[1] < means[2]
