"""Losses as pure functions, each with its citation.

Scores of a discriminator are raw maps (no sigmoid). Where a discriminator has several scales, its output is a list over
scales of lists over layers, the scores last; `over_scales` adds a loss up over them, `mean_over_scales` averages it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Scores = Callable[[Tensor, bool], Tensor]
PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def least_squares(scores: Tensor, real: bool) -> Tensor:
    """Mean squared distance to 1 (real) or 0 (fake). LSGAN, arXiv 1611.04076, equation 2; pix2pixHD, section 4."""
    return (scores - 1.0 if real else scores).square().mean()


def vanilla(scores: Tensor, real: bool) -> Tensor:
    """Cross-entropy of sigmoid scores against 1 (real) or 0 (fake). Goodfellow et al. 2014; pix2pix, equation 1."""
    return F.softplus(-scores if real else scores).mean()


def hinge_discriminator(scores: Tensor, real: bool) -> Tensor:
    """Mean of max(0, 1 - s) for real, max(0, 1 + s) for fake. Lim and Ye, arXiv 1705.02894; SPADE, appendix A."""
    return F.relu(1.0 - scores if real else 1.0 + scores).mean()


def hinge_generator(scores: Tensor, real: bool = True) -> Tensor:
    """Minus the mean score of what shall be taken for real. Lim and Ye, arXiv 1705.02894; SPADE, appendix A."""
    return -scores.mean() if real else scores.mean()


def wasserstein(scores: Tensor, real: bool) -> Tensor:
    """Minus the mean score of what is, or shall be taken for, real; the mean score of fakes. Arjovsky et al., arXiv 1701.07875.

    The critic has to be kept smooth by other means: in SPADE's official code by spectral norm.
    """
    return -scores.mean() if real else scores.mean()


def over_scales(loss: Scores, outputs: Sequence[Sequence[Tensor]], real: bool) -> Tensor:
    """Sum of a loss over the scores of every scale (pix2pixHD, equation 3)."""
    return torch.stack([loss(layers[-1], real) for layers in outputs]).sum()


def mean_over_scales(loss: Scores, outputs: Sequence[Sequence[Tensor]], real: bool) -> Tensor:
    """Mean of a loss over the scores of every scale (SPADE's official code; its paper names pix2pixHD's sum)."""
    return over_scales(loss, outputs, real) / len(outputs)


def feature_matching(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean over scales of the sum over layers of the mean |fake - real|, scores left out (pix2pixHD, equation 4).

    Gradients flow into `fake` alone. The official code also weighs by 4 / (number of layers): the recipe does so.
    """
    scales = [
        torch.stack([F.l1_loss(f, r.detach()) for f, r in zip(fakes[:-1], reals[:-1], strict=True)]).sum()
        for fakes, reals in zip(fake, real, strict=True)
    ]
    return torch.stack(scales).mean()


def perceptual(fake: Sequence[Tensor], real: Sequence[Tensor], weights: Sequence[float] = PERCEPTUAL_WEIGHTS) -> Tensor:
    """Weighted sum over VGG layers of the mean |fake - real| (pix2pixHD, section 4).

    Args:
        fake: Features of the generated image, shallowest first; gradients flow into these.
        real: Features of the photograph.
        weights: One per layer; the official code's by default.
    """
    return torch.stack(
        [weight * F.l1_loss(f, r.detach()) for f, r, weight in zip(fake, real, weights, strict=True)]
    ).sum()


def l1(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference. pix2pix, equation 3."""
    return F.l1_loss(fake, real)


def l2(fake: Tensor, real: Tensor) -> Tensor:
    """Mean squared difference. pix2pix, section 3.1."""
    return F.mse_loss(fake, real)


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL from N(mu, exp(logvar)) to N(0, 1), summed over batch and dimensions. SPADE, appendix A."""
    return -0.5 * (1.0 + logvar - mu.square() - logvar.exp()).sum()
