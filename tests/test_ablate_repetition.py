"""The measure of repeated patterns, on pictures whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from gesso.data import toy
from gesso.errors import DataError
from gesso.evaluate.repetition import repetition

Plane = npt.NDArray[np.float64]
Pictures = npt.NDArray[np.uint8]
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


def checkerboard(side: int) -> Plane:
    """-1 and 1 in squares of so many pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] // side
    return np.where((y + x) % 2, 1.0, -1.0)


def poles(count: int, seed: int) -> Plane:
    """Upright bars of three pixels, anywhere and of any shade."""
    rng, picture = np.random.default_rng(seed), np.full((HEIGHT, WIDTH), 100.0)
    for left in rng.integers(0, WIDTH - 3, count):
        picture[:, left : left + 3] = rng.uniform(0, 255)
    return picture


def boxes(count: int, seed: int) -> Plane:
    rng, picture = np.random.default_rng(seed), np.full((HEIGHT, WIDTH), 100.0)
    for _ in range(count):
        top, left, high, wide = rng.integers((0, 0, 5, 5), (HEIGHT, WIDTH, 40, 40))
        picture[top : top + high, left : left + wide] = rng.uniform(0, 255)
    return picture


@pytest.mark.parametrize("period", [2, 3, 4, 7, 8, 16, 24])
def test_tiles_repeat(period: int) -> None:
    assert score(128 + 40 * tiled(period)) > 0.85


@pytest.mark.parametrize("period", [28, 31, 32])
def test_long_tiles_repeat_less(period: int) -> None:
    assert 0.5 < score(128 + 40 * tiled(period)) < 0.9


@pytest.mark.parametrize("side", [1, 2, 4])
def test_checkerboards_repeat(side: int) -> None:
    assert score(128 + 40 * checkerboard(side)) > 0.9


def test_stripes_repeat() -> None:
    columns = np.arange(WIDTH)[None].repeat(HEIGHT, axis=0)
    assert score(128 + 60 * np.sin(2 * np.pi * columns / 9)) > 0.85
    assert score(128 + 60 * np.sin(2 * np.pi * columns.T[:HEIGHT, :HEIGHT] / 9)) > 0.85


@pytest.mark.parametrize("contrast", [5, 40, 500])
def test_noise_does_not(contrast: float) -> None:
    assert score(128 + contrast * noise()) < 0.005


@pytest.mark.parametrize("blur", [0.7, 1, 2, 3, 5])
def test_blurred_noise_does_not(blur: float) -> None:
    for seed in range(3):
        smooth = gaussian_filter(noise(seed), blur)
        assert score(128 + 40 * smooth / smooth.std()) < 0.005


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
def test_smooth_shades_do_not(step: float) -> None:
    """Their rounding to whole numbers makes steps that repeat, but nobody sees them."""
    assert score(np.arange(WIDTH)[None].repeat(HEIGHT, axis=0) * step) < 0.03
    assert score(np.full((HEIGHT, WIDTH), 7.0)) == 0


def test_single_edges_do_not() -> None:
    picture = np.full((HEIGHT, WIDTH), 100.0)
    picture[:, 100:103] = 220
    picture[60:64] = 30
    assert score(picture) < 0.005, "an edge is like itself along itself, which is a line of the spectrum and no peak"


@pytest.mark.parametrize("count", [1, 3, 8, 20, 40])
def test_poles_and_boxes_anywhere_do_not(count: int) -> None:
    for seed in range(3):
        assert score(poles(count, seed)) < 0.01
        assert score(boxes(count, seed)) < 0.01


def test_poles_at_equal_distances_do() -> None:
    fence = np.where(np.arange(WIDTH) % 12 < 3, 200.0, 60.0)[None].repeat(HEIGHT, axis=0)
    assert score(fence) > 0.5


def test_more_of_a_pattern_scores_higher() -> None:
    mixed = [score(128 + 30 * (np.sqrt(a) * tiled(8, 1) + np.sqrt(1 - a) * noise(2))) for a in (0, 0.25, 0.5, 0.75, 1)]
    assert mixed == sorted(mixed)
    assert mixed[0] < 0.005 < 0.05 < mixed[1]
    half = np.where(np.arange(2 * WIDTH) < WIDTH, 128 + 30 * np.tile(tiled(8), 2), 128.0)
    assert score(half) == pytest.approx(score(128 + 30 * tiled(8)) / 2, abs=0.1), "the mean over windows"


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
    assert together[1] > 0.8 > 0.01 > max(together[0], together[2])


def test_small_and_large_pictures() -> None:
    assert score(128 + 40 * tiled(4)[:20, :17]) > 0.3
    assert score(128 + 40 * noise()[:20, :17]) < 0.01
    assert score(128 + 40 * tiled(8)[:64, :128]) > 0.85
    large = np.tile(128 + 40 * tiled(8), (3, 3))
    assert score(large) == pytest.approx(score(128 + 40 * tiled(8)), abs=0.02)


@pytest.mark.parametrize("shape", [(1, 15, 64, 3), (1, 64, 64), (1, 64, 64, 1), (64, 64, 3)])
def test_what_is_no_pictures_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"Repeated patterns are looked for in pictures \(B, H, W, 3\) of 16 pixels"):
        repetition(np.zeros(shape, np.uint8))


# --- photographs ---


PATTERNS = {
    "checkerboard of pixels": checkerboard(1),
    "checkerboard of pairs": checkerboard(2),
    "tiles of 8": tiled(8),
    "tiles of 16": tiled(16),
    "tiles of 24": tiled(24),
}


@pytest.fixture(scope="module")
def toys() -> Pictures:
    return np.stack([toy.scene(seed=1, index=index, height=HEIGHT, width=WIDTH).image for index in range(4)])


@pytest.fixture(scope="module")
def real(camvid: Path) -> Pictures:
    files = sorted((camvid / "val" / "images").iterdir())[::25]
    assert len(files) > 3
    return np.stack([np.asarray(Image.open(file).convert("RGB").resize((WIDTH, HEIGHT))) for file in files])


def laid_over(photographs: Pictures, pattern: Plane) -> Pictures:
    return np.clip(photographs + pattern[..., None], 0, 255).round().astype(np.uint8)


def hardly_repeat_until_a_pattern_is_laid_over_them(photographs: Pictures) -> None:
    """Blurred or noisy ones no more than clean ones, and each pattern the more the stronger it is."""
    blurred = [gaussian_filter(photographs, (0, sigma, sigma, 0)) for sigma in (1, 2, 3)]
    noisy = laid_over(photographs, 30 * noise())
    without = max(repetition(pictures).mean() for pictures in (photographs, *blurred, noisy))
    assert without < 0.003
    for name, pattern in PATTERNS.items():
        means = [repetition(laid_over(photographs, strength * pattern)).mean() for strength in (4, 8, 16, 32)]
        assert means == sorted(means), name
        assert without < 2 * without + 0.004 < means[0], name
        assert means[1] > 0.05, name
        assert means[2] > 0.2, name
        over_blur = repetition(laid_over(blurred[1], 4 * pattern)).mean()
        assert over_blur > means[0], f"{name}: nothing hides it there"


def test_toy_photographs_hardly_repeat_until_a_pattern_is_laid_over_them(toys: Pictures) -> None:
    hardly_repeat_until_a_pattern_is_laid_over_them(toys)


def test_photographs_hardly_repeat_until_a_pattern_is_laid_over_them(real: Pictures) -> None:
    hardly_repeat_until_a_pattern_is_laid_over_them(real)


def test_a_checkerboard_of_transposed_convolutions_is_seen() -> None:
    """Kernels whose size their stride does not divide: some pixels get more than their neighbours, at every second one."""
    uneven = np.where(np.arange(WIDTH) % 2, 1.15, 0.85)
    gain = uneven[:HEIGHT, None] * uneven[None]
    smooth = 90 + 20 * (blurred := gaussian_filter(noise(), 4)) / blurred.std()
    assert score(smooth) < 0.005
    assert score(smooth * gain) > 0.3
