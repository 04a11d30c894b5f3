"""L1, PSNR and SSIM by hand, against scikit-image and against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import metrics
from torchmetrics.functional.image import structural_similarity_index_measure

from gesso.errors import DataError
from gesso.evaluate.paired import paired_scores


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth, so that structure matters."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 5, 7, 3))
    large = small.repeat(6, axis=1).repeat(6, axis=2) + random.integers(-20, 21, (count, 30, 42, 3))
    return np.clip(large, 0, 255).astype(np.uint8)


def test_against_scikit_image() -> None:
    results, photographs = pictures(4, 0), pictures(4, 1)
    results[2] = (0.7 * photographs[2] + 0.3 * results[2]).astype(np.uint8)
    found = paired_scores(results, photographs)
    for number, (a, b) in enumerate(zip(results, photographs, strict=True)):
        ssim = metrics.structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=-1
        )
        assert found.ssim[number] == pytest.approx(ssim, abs=1e-9)
        assert found.psnr[number] == pytest.approx(metrics.peak_signal_noise_ratio(b, a, data_range=255), rel=1e-12)
        assert found.l1[number] == pytest.approx(np.abs(a.astype(float) - b).mean() / 255, rel=1e-12)
    assert found.ssim[2] == max(found.ssim)


def test_by_hand() -> None:
    """Flat pictures 51 levels apart: L1 0.2, PSNR 10 log10 25, SSIM from the luminance term alone."""
    dark, bright = np.full((1, 12, 12, 3), 51, np.uint8), np.full((1, 12, 12, 3), 102, np.uint8)
    found = paired_scores(dark, bright)
    assert found.l1.tolist() == pytest.approx([0.2])
    assert found.psnr.tolist() == pytest.approx([10 * np.log10(25)])
    c1 = (0.01 * 255) ** 2
    assert found.ssim.tolist() == pytest.approx([(2 * 51 * 102 + c1) / (51**2 + 102**2 + c1)])


def test_equal_pictures() -> None:
    same = pictures(2, 3)
    found = paired_scores(same, same)
    assert found.l1.tolist() == [0, 0]
    assert found.psnr.tolist() == [np.inf, np.inf]
    assert found.ssim.tolist() == pytest.approx([1, 1])


def test_one_picture_scores_as_it_does_among_others() -> None:
    results, photographs = pictures(3, 4), pictures(3, 5)
    alone, together = paired_scores(results[1:2], photographs[1:2]), paired_scores(results, photographs)
    for name in ("l1", "psnr", "ssim"):
        assert getattr(alone, name)[0] == pytest.approx(getattr(together, name)[1])


def test_what_is_refused() -> None:
    good = pictures(2, 6)
    with pytest.raises(DataError, match=r"results came as float64 .* not finite \(NaN\)"):
        paired_scores(np.full(good.shape, np.nan), good)
    with pytest.raises(DataError, match="photographs came as float32"):
        paired_scores(good, good.astype(np.float32))
    with pytest.raises(DataError, match="cannot be paired"):
        paired_scores(good, good[:1])
    with pytest.raises(DataError, match=r"SSIM looks through 11x11 pixels; these pictures are \(10, 42\)"):
        paired_scores(good[:, :10], good[:, :10])


def test_against_torchmetrics() -> None:
    results, photographs = pictures(2, 7), pictures(2, 8)
    first, second = (torch.from_numpy(side).double().movedim(-1, 1) for side in (results, photographs))
    _, everywhere = structural_similarity_index_measure(
        first, second, data_range=255.0, reduction="none", return_full_image=True
    )
    theirs = everywhere[:, :, 5:-5, 5:-5].mean((1, 2, 3)).numpy()  # where the window hangs over the edge it mirrors
    assert paired_scores(results, photographs).ssim == pytest.approx(theirs, abs=1e-9)
