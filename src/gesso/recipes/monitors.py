"""What tells whether a training is sound, beside its losses: how well D judges, and whether G's colours are at their ends.

A training step returns these by name among its losses; log.jsonl and TensorBoard keep them, and `Watch` says in words when
one has left its healthy range for long. The ranges are data: `HEALTHY`. `Parting` says so when a training goes on getting better
on what it learns from, and has long been getting worse on what it does not see.
"""

from __future__ import annotations

import statistics
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


# ------------------------------------------------------------------------------------------- training and validation

BLOCK = 4  # measurements that are averaged before anything is compared
RISE = 0.02  # of a score, below which a change is no matter
SURE = 5.0  # times the noise of such an average


class Parting:
    """Sees when the distance to photographs goes on falling for those learned from and has risen for those held out.

    Compared are means over 4 measurements: the latest against that with the lowest held-out distance, which must be over by at
    least 4 more. Held out, the rise must be 2 % and 5 times the noise of such means (from the median difference of neighbouring
    ones), and all of the latest four must lie above that lowest mean; on what is learned from, the fall must be 2 %. Nothing is
    said before 16 measurements, and it is said once in a phase of a training; each phase begins anew.

    In 500 simulated trainings of 100 measurements each, whose held-out distance falls and then stays while the other falls on, it
    spoke wrongly in none with noise of 1 % in a measurement and in 0.6 % with noise of 3 %; where noise lasts (correlation 0.5
    from one measurement to the next) in 0.4 % and 2.4 %. Averaged weights make it last longer: with `ema` 0.999 the correlation
    is 0.78 with 250 steps between measurements, and 0.9 with 100. Of 300 such trainings it spoke wrongly in 0.7 and 4 % with
    noise of 1 %, and in 10 and 23 % with noise of 3 %. tests/test_parting.py repeats this with fewer.
    """

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, phase: float) -> None:
        self._phase = phase
        self._steps: list[int] = []
        self._seen: dict[str, list[float]] = {"train": [], "val": []}
        self.said = False

    def see(self, step: int, values: Mapping[str, float], best: bool = True) -> str:
        """Take `train_l1` and `val_l1` of a step, and `phase` where there are several; what is to be said, mostly nothing.

        Args:
            step: Steps taken.
            values: By name; other measurements are passed over.
            best: Whether there is a best model to recommend.
        """
        if not {"train_l1", "val_l1"} <= values.keys():
            return ""
        if (phase := values.get("phase", 0)) != self._phase:  # other networks, mostly at another size: nothing compares
            self._begin(phase)
        self._steps.append(step)
        for split, seen in self._seen.items():
            seen.append(values[f"{split}_l1"])
        if self.said or len(self._steps) < 4 * BLOCK:
            return ""
        learned, held_out = (_means(seen) for seen in self._seen.values())
        lowest = min(range(len(held_out) - BLOCK), key=held_out.__getitem__)
        low, now = held_out[lowest], held_out[-1]
        noise = statistics.median(abs(b - a) for a, b in zip(held_out, held_out[BLOCK:])) / (0.6745 * 2**0.5)  # noqa: B905
        rises = now - low > max(RISE * low, SURE * noise) and min(self._seen["val"][-BLOCK:]) > low
        self.said = rises and learned[-1] < (1 - RISE) * learned[lowest]
        return self._words(lowest, (learned[lowest], learned[-1]), (low, now), best) if self.said else ""

    def _words(self, lowest: int, learned: tuple[float, float], held_out: tuple[float, float], best: bool) -> str:
        take = "Stop here and take best.safetensors, or begin" if best else "Begin"
        began = self._steps[lowest + BLOCK - 1]
        return (
            f"training and validation part. Since about step {began} the distance to the photographs learned from has fallen "
            f"from {learned[0]:.4f} to {learned[1]:.4f} (train_l1), that to held-out ones has risen from {held_out[0]:.4f} to "
            f"{held_out[1]:.4f} (val_l1): it now learns those photographs by heart. {take} again with "
            "--diffaugment color,translation,cutout, with --warp 1, or with more photographs; see "
            "docs/small-data.md"
        )


def _means(values: Sequence[float]) -> list[float]:
    """Of every 4 that follow each other."""
    return [sum(values[first : first + BLOCK]) / BLOCK for first in range(len(values) - BLOCK + 1)]
