"""Losses against formulae written out by hand, their gradients, and where gradients must not go."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gesso import losses

NUMBERS = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=6)
Maps = list[list[Tensor]]


def column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).requires_grad_()


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def agrees(loss: Tensor, expected: float) -> bool:
    return loss.dim() == 0 and math.isclose(loss.item(), expected, rel_tol=1e-12, abs_tol=1e-12)


FORMULAE: dict[str, tuple[losses.Scores, Callable[[float], float], Callable[[float], float]]] = {
    # loss, of one real score, of one fake score
    "least_squares": (losses.least_squares, lambda s: (s - 1) ** 2, lambda s: s**2),
    "vanilla": (losses.vanilla, lambda s: math.log1p(math.exp(-s)), lambda s: math.log1p(math.exp(s))),
    "hinge_discriminator": (losses.hinge_discriminator, lambda s: max(0.0, 1 - s), lambda s: max(0.0, 1 + s)),
    "hinge_generator": (losses.hinge_generator, lambda s: -s, lambda s: s),
    "wasserstein": (losses.wasserstein, lambda s: -s, lambda s: s),
}


@pytest.mark.parametrize("name", FORMULAE)
@given(scores=NUMBERS)
def test_adversarial_losses_are_means_of_their_formula(name: str, scores: list[float]) -> None:
    loss, of_real, of_fake = FORMULAE[name]
    assert agrees(loss(column(scores), True), mean([of_real(s) for s in scores]))
    assert agrees(loss(column(scores), False), mean([of_fake(s) for s in scores]))


@pytest.mark.parametrize("name", FORMULAE)
def test_adversarial_losses_pull_towards_their_target(name: str) -> None:
    """A step against the gradient raises the scores of what shall be real and lowers those of what shall be fake."""
    loss = FORMULAE[name][0]
    for real, way in ((True, -1.0), (False, 1.0)):
        scores = column([-0.5, 0.25, 0.5])
        (gradient,) = torch.autograd.grad(loss(scores, real), scores)
        pulled = torch.sign(gradient)
        if name == "least_squares" and not real:
            assert pulled.tolist() == [-1.0, 1.0, 1.0]  # towards 0 from both sides
        else:
            assert pulled.tolist() == [way] * 3


def test_hinge_leaves_scores_beyond_the_margin_alone() -> None:
    scores = column([-2.0, -1.5, 3.0, 0.0])
    (gradient,) = torch.autograd.grad(losses.hinge_discriminator(scores, True), scores)
    assert gradient.tolist() == [-0.25, -0.25, 0.0, -0.25]
    (gradient,) = torch.autograd.grad(losses.hinge_discriminator(scores, False), scores)
    assert gradient.tolist() == [0.0, 0.0, 0.25, 0.25]


def test_vanilla_stays_finite_for_large_scores() -> None:
    scores = torch.tensor([1e4, -1e4], requires_grad=True)
    for real in (True, False):
        loss = losses.vanilla(scores, real)
        assert loss.item() == 5e3
        (gradient,) = torch.autograd.grad(loss, scores)
        assert gradient.isfinite().all()


def test_vanilla_of_an_undecided_discriminator() -> None:
    assert agrees(losses.vanilla(torch.zeros(2, 1, 3, 3, dtype=torch.float64), True), math.log(2))


def scores_of_two_scales() -> Maps:
    """Scores of 1x2x2 and 1x1x1, behind features that must not matter."""
    fine, coarse = torch.tensor([[[[1.0, 0.0], [0.0, 3.0]]]]), torch.tensor([[[[0.5]]]])
    return [[torch.full((1, 2, 4, 4), 7.0), fine], [torch.full((1, 2, 2, 2), -7.0), coarse]]


def test_over_scales_adds_means_of_the_last_maps() -> None:
    outputs = scores_of_two_scales()
    assert losses.over_scales(losses.least_squares, outputs, True).item() == (0 + 1 + 1 + 4) / 4 + 0.25
    assert losses.over_scales(losses.least_squares, outputs, False).item() == (1 + 0 + 0 + 9) / 4 + 0.25
    assert losses.over_scales(losses.hinge_generator, outputs, True).item() == -1.0 - 0.5


def test_mean_over_scales_counts_every_scale_alike() -> None:
    outputs = scores_of_two_scales()
    assert losses.mean_over_scales(losses.least_squares, outputs, True).item() == ((0 + 1 + 1 + 4) / 4 + 0.25) / 2
    assert losses.mean_over_scales(losses.hinge_generator, outputs, True).item() == (-1.0 - 0.5) / 2
    assert losses.mean_over_scales(losses.hinge_generator, outputs[:1], True).item() == -1.0


def features(generator: torch.Generator, scales: int = 2) -> Maps:
    """Per scale two layers of features of unequal size, then scores."""
    shapes = [(1, 2, 3, 4), (1, 4, 2, 2), (1, 1, 2, 1)]
    return [
        [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
        for _ in range(scales)
    ]


@pytest.fixture
def pair() -> tuple[Maps, Maps]:
    generator = torch.Generator().manual_seed(0)
    return features(generator), features(generator)


def absolute(a: Tensor, b: Tensor) -> float:
    return mean([abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)])


def test_feature_matching_by_hand(pair: tuple[Maps, Maps]) -> None:
    fake, real = pair
    per_scale = [sum(absolute(f[j], r[j]) for j in (0, 1)) for f, r in zip(fake, real, strict=True)]
    assert agrees(losses.feature_matching(fake, real), mean(per_scale))


def test_feature_matching_does_not_see_the_scores(pair: tuple[Maps, Maps]) -> None:
    fake, real = pair
    before = losses.feature_matching(fake, real).item()
    assert losses.feature_matching([[*layers[:-1], layers[-1] + 5] for layers in fake], real).item() == before


def test_feature_matching_pulls_the_fake_alone(pair: tuple[Maps, Maps]) -> None:
    fake, real = pair
    losses.feature_matching(fake, real).backward()
    for fakes, reals in zip(fake, real, strict=True):
        assert all(r.grad is None for r in reals)
        assert fakes[-1].grad is None
        for f, r in zip(fakes[:-1], reals[:-1], strict=True):
            torch.testing.assert_close(f.grad, torch.sign(f - r).detach() / (f.numel() * len(fake)))


def test_feature_matching_of_equal_features_is_zero(pair: tuple[Maps, Maps]) -> None:
    fake, _ = pair
    assert losses.feature_matching(fake, fake).item() == 0.0


def test_feature_matching_refuses_discriminators_that_differ(pair: tuple[Maps, Maps]) -> None:
    fake, real = pair
    with pytest.raises(ValueError, match="shorter"):
        losses.feature_matching(fake, real[:1])
    with pytest.raises(ValueError, match="shorter"):
        losses.feature_matching(fake, [layers[:-1] for layers in real])


def test_perceptual_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    fake = [torch.randn(1, n, 2, 2, generator=generator, dtype=torch.float64).requires_grad_() for n in range(1, 6)]
    real = [torch.randn(1, n, 2, 2, generator=generator, dtype=torch.float64).requires_grad_() for n in range(1, 6)]
    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    loss = losses.perceptual(fake, real)
    assert agrees(loss, sum(w * absolute(f, r) for w, f, r in zip(weights, fake, real, strict=True)))
    loss.backward()
    for f, r, weight in zip(fake, real, weights, strict=True):
        assert r.grad is None
        torch.testing.assert_close(f.grad, weight * torch.sign(f - r).detach() / f.numel())
    assert agrees(losses.perceptual(fake[:2], real[:2], (0.0, 3.0)), 3 * absolute(fake[1], real[1]))


def test_perceptual_refuses_other_numbers_of_layers() -> None:
    layers = [torch.zeros(1)] * 4
    with pytest.raises(ValueError, match="longer"):
        losses.perceptual(layers, layers)


@given(pairs=st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=6))
def test_l1_and_l2(pairs: list[tuple[float, float]]) -> None:
    fake, real = column([a for a, _ in pairs]), column([b for _, b in pairs])
    assert agrees(losses.l1(fake, real), mean([abs(a - b) for a, b in pairs]))
    assert agrees(losses.l2(fake, real), mean([(a - b) ** 2 for a, b in pairs]))


def test_l1_and_l2_pull_towards_the_photograph() -> None:
    fake, real = column([0.5, -0.5]), torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert torch.autograd.grad(losses.l1(fake, real), fake)[0].tolist() == [0.5, -0.5]
    assert torch.autograd.grad(losses.l2(fake, real), fake)[0].tolist() == [0.5, -1.5]


@given(latents=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=6))
def test_kl_divergence_is_a_sum_and_never_negative(latents: list[tuple[float, float]]) -> None:
    mu, logvar = column([m for m, _ in latents]), column([v for _, v in latents])
    loss = losses.kl_divergence(mu, logvar)
    # Of each dimension: log(1 / sigma) + (sigma^2 + mu^2) / 2 - 1/2.
    expected = math.fsum(-v / 2 + (math.exp(v) + m * m) / 2 - 0.5 for m, v in latents)
    assert math.isclose(loss.item(), expected, rel_tol=1e-9, abs_tol=1e-12)
    assert loss.item() >= -1e-12
    doubled = losses.kl_divergence(torch.stack([mu, mu]), torch.stack([logvar, logvar]))
    assert math.isclose(doubled.item(), 2 * expected, rel_tol=1e-9, abs_tol=1e-12)


def test_kl_divergence_pulls_towards_the_standard_normal() -> None:
    mu, logvar = column([1.5, -0.5, 0.0]), column([0.0, math.log(3.0), 0.0])
    of_mu, of_logvar = torch.autograd.grad(losses.kl_divergence(mu, logvar), (mu, logvar))
    torch.testing.assert_close(of_mu, mu.detach())
    torch.testing.assert_close(of_logvar, (logvar.detach().exp() - 1) / 2)
    assert losses.kl_divergence(torch.zeros(2, 8), torch.zeros(2, 8)).item() == 0.0


# --- against finite differences ---


def scattered(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Values at distances of 0.1 around zero, in an order of no meaning: no kink of any loss is nearer than 0.05 to one."""
    count = sum(math.prod(shape) for shape in shapes)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    values = ((order - count // 2) * 0.1 + 0.05).double().split([math.prod(shape) for shape in shapes])
    return [part.reshape(shape).requires_grad_() for part, shape in zip(values, shapes, strict=True)]


SCALES = [(1, 2, 2, 3), (1, 1, 2, 2), (1, 2, 1, 2), (1, 1, 1, 1)]  # two scales of features and scores
OTHERS = [torch.zeros(shape, dtype=torch.float64) for shape in SCALES]


def by_scale(tensors: Sequence[Tensor]) -> Maps:
    return [list(tensors[:2]), list(tensors[2:])]


GRADIENTS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    **{
        f"{name} of {'real' if real else 'fake'}": (partial(FORMULAE[name][0], real=real), [(2, 1, 3, 3)])
        for name in FORMULAE
        for real in (True, False)
    },
    "over_scales": (lambda *x: losses.over_scales(losses.vanilla, by_scale(x), True), SCALES),
    "mean_over_scales": (lambda *x: losses.mean_over_scales(losses.hinge_discriminator, by_scale(x), False), SCALES),
    "feature_matching": (lambda *x: losses.feature_matching(by_scale(x), by_scale(OTHERS)), SCALES),
    "perceptual": (lambda *x: losses.perceptual(x, OTHERS, (1.0, 0.5, 2.0, 3.0)), SCALES),
    "l1": (lambda x: losses.l1(x, torch.zeros_like(x)), [(2, 3, 2, 2)]),
    "l2": (lambda x: losses.l2(x, torch.ones_like(x)), [(2, 3, 2, 2)]),
    "kl_divergence": (losses.kl_divergence, [(2, 4), (2, 4)]),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    loss, shapes = GRADIENTS[name]
    assert torch.autograd.gradcheck(loss, scattered(*shapes), eps=1e-6, atol=1e-9, rtol=1e-6)


def test_every_loss_is_compared_with_finite_differences() -> None:
    public = {name for name, value in vars(losses).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert public == {name.split()[0] for name in GRADIENTS}
