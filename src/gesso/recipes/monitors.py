"""What tells whether a training is sound, beside its losses: how well D judges, and whether G's colours are at their ends.

A training step returns these by name among its losses; log.jsonl and TensorBoard keep them, and `Watch` says in words when
one has left its healthy range for long. The ranges are data: `HEALTHY`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

Scores = Tensor | Sequence[Sequence[Tensor]]
MONITORS = ("accuracy_D_real", "accuracy_D_fake", "saturation")  # names in the log
END = 0.98  # of tanh's -1..1: its slope there is 1/25 of that in the middle
BOUNDARY = {
    "lsgan": 0.5,
    "vanilla": 0.0,
    "hinge": 0.0,
}  # between real and fake; "wasserstein" has none: scores only compare
PATIENCE = 1000  # steps that a mean is taken over before it is judged


def monitors(
    real_scores: Scores, fake_scores: Scores, gan: str, generated: Tensor, photograph: Tensor
) -> dict[str, Tensor]:
    """Everything that is watched in a step of a GAN; detached scalars.

    Args:
        real_scores: D's scores of photographs: one map, or a list over scales of a list over layers, the scores last.
        fake_scores: Likewise of generated pictures, as D's own loss sees them.
        gan: Name of the adversarial loss, of which `BOUNDARY` tells where real and fake meet, if anywhere.
        generated: (B, 3, H, W) in [-1, 1].
        photograph: (B, 3, H, W) in [-1, 1].

    Returns:
        "accuracy_D_real" and "accuracy_D_fake": share, 0..1, of the scores on the right side, every scale counting alike
        as it does in the loss; not for a loss without a boundary. "saturation": see the function of this name.
    """
    watched = {"saturation": saturation(generated, photograph)}
    if gan not in BOUNDARY:
        return watched
    real = [(scores.detach() > BOUNDARY[gan]).float().mean() for scores in _maps(real_scores)]
    fake = [(scores.detach() < BOUNDARY[gan]).float().mean() for scores in _maps(fake_scores)]
    return {
        "accuracy_D_real": sum(real[1:], real[0]) / len(real),
        "accuracy_D_fake": sum(fake[1:], fake[0]) / len(fake),
        **watched,
    }


def saturation(generated: Tensor, photograph: Tensor) -> Tensor:
    """How much larger the share of values beyond +-0.98 is in generated pictures than in photographs: -1..1, a scalar."""
    ours, theirs = ((picture.detach().abs() > END).float().mean() for picture in (generated, photograph))
    return ours - theirs


def _maps(scores: Scores) -> list[Tensor]:
    return [scores] if isinstance(scores, Tensor) else [layers[-1] for layers in scores]


# ------------------------------------------------------------------------------------------------- what is healthy


@dataclass(frozen=True)
class Healthy:
    """The range that a figure may be in for long, and what is said beside it."""

    low: float
    high: float
    below: str
    above: str

    def fault(self, value: float) -> str:
        """What is wrong with this value, and what to do; empty if nothing is."""
        return self.below if value < self.low else self.above if value > self.high else ""


HEALTHY: dict[str, Healthy] = {
    # The mean of both accuracies, because a D that calls everything real is right half of the time.
    "accuracy of D": Healthy(
        0.45,
        0.95,
        "D judges worse than by chance and teaches the generator nothing: train it with a higher rate or more channels, or "
        "with less --diffaugment",
        "D overpowers the generator; with few photographs it has learned them by heart: use --diffaugment "
        "color,translation,cutout and --warp 1, or more photographs",
    ),
    "saturation": Healthy(
        -1.0,
        0.1,
        "",
        "far more of the generated colours lie at the ends of their range than of the photographs', where the generator "
        "hardly learns: lower --lr, or go back to a state before it",
    ),
}


class Watch:
    """Judges means over at least `PATIENCE` steps; twice as many after each warning, so that it does not nag."""

    def __init__(self, patience: int = PATIENCE) -> None:
        self._patience = patience
        self._steps = 0
        self._sums: dict[str, float] = {}

    def see(self, means: Mapping[str, float], steps: int) -> list[str]:
        """Take the mean values of a number of steps; gives back what is to be said, mostly nothing."""
        for name, value in _judged(means).items():
            self._sums[name] = self._sums.get(name, 0.0) + value * steps
        self._steps += steps
        if self._steps < self._patience:
            return []
        seen, means = self._steps, {name: total / self._steps for name, total in self._sums.items()}
        self._steps, self._sums = 0, {}
        said = [
            f"{name} {value:.2f} over the last {seen} steps (healthy: {HEALTHY[name].low:g} to {HEALTHY[name].high:g}): {fault}"
            for name, value in means.items()
            if (fault := HEALTHY[name].fault(value))
        ]
        self._patience *= 2 if said else 1
        return said


def _judged(means: Mapping[str, float]) -> dict[str, float]:
    found = {name: means[name] for name in HEALTHY if name in means}
    accuracies = [means[name] for name in ("accuracy_D_real", "accuracy_D_fake") if name in means]
    return found | ({"accuracy of D": sum(accuracies) / len(accuracies)} if accuracies else {})
