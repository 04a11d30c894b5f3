"""What one participant is asked: a pure function of the study and of the participant's number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

from gesso.study.design import REAL, TURN, Pair, Side, Study

Kind = Literal["practice", "trial", "check"]
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Trial:
    """Two pictures and for how long they are seen.

    Attributes:
        kind: "practice" is not counted and is answered with feedback, "check" is an attention check.
        left: Picture id.
        right: Picture id.
        exposure: Seconds; None is unlimited. In real-or-fake each picture is shown for so long, the left one first.
        correct: The right answer, where there is one: the picture that is not spoilt, or, in real-or-fake, the fake one.
    """

    kind: Kind
    left: str
    right: str
    exposure: float | None = None
    correct: Side | None = None


def draw(study: Study, number: int) -> tuple[Trial, ...]:
    """The trials of participant `number` (from 0), in order: practice first, then trials with checks spread among them."""
    random = Random(f"{study.seed}/{number}")
    if study.protocol == "real-or-fake":
        return _real_or_fake(study, _method_of(study, number), random)
    trials = _comparisons(study, random)
    return tuple(_spread([_check(study, random) for _ in range(study.checks)], trials, random))


def _comparisons(study: Study, random: Random) -> list[Trial]:
    """Every pair as often (to one), no scene twice for a pair, each exposure and each side as often (to one) for each pair."""
    pairs = _shuffled(study.pairs, random)
    found = []
    for order, pair in enumerate(pairs):
        count = study.trials // len(pairs) + (order < study.trials % len(pairs))
        scenes = random.sample(study.scenes, count)
        exposures = _evenly(study.exposures, count, random) if study.exposures else [None] * count
        for scene, exposure, side in zip(scenes, exposures, _evenly(_SIDES, count, random), strict=True):
            left, right = (study.ids[method, scene, False] for method in _sided(pair, side))
            found.append(Trial("trial", left, right, exposure))
    return _shuffled(found, random)


def _check(study: Study, random: Random) -> Trial:
    """A pair as in other trials, but the picture of one method is spoilt. It is seen for at least a second, if any is."""
    good, bad = random.sample(random.choice(study.pairs), 2)
    scene = random.choice(study.spoilt_scenes(bad))
    side: Side = random.choice(_SIDES)
    pictures = _sided((study.ids[good, scene, False], study.ids[bad, scene, True]), side)
    enough = [seconds for seconds in study.exposures if seconds >= 1] or sorted(study.exposures)[-1:]
    return Trial("check", *pictures, random.choice(enough) if enough else None, side)


def _method_of(study: Study, number: int) -> str:
    """The one method of a sitting: of every len(fakes) participants in a row each gets another."""
    block, place = divmod(number, len(study.fakes))
    return _shuffled(study.fakes, Random(f"{study.seed}/methods/{block}"))[place]


def _real_or_fake(study: Study, method: str, random: Random) -> tuple[Trial, ...]:
    """A sitting of pix2pix's test. No scene of a check is used again, as it tells which picture is real."""
    checks = random.sample(study.spoilt_scenes(method), study.checks)
    others = [scene for scene in study.scenes if scene not in checks]
    scenes = random.sample(others, study.practice + study.trials)
    practice, counted = scenes[: study.practice], scenes[study.practice :]

    def ask(kind: Kind, fakes: Sequence[str]) -> list[Trial]:
        reals = [*fakes[1:], *fakes[:1]] if study.unpaired and kind != "check" else fakes
        sides = _evenly(_SIDES, len(fakes), random)
        return [
            _turns(study, kind, method, fake, real, side) for fake, real, side in zip(fakes, reals, sides, strict=True)
        ]

    first = ask("practice", practice)
    return (*first, *_spread(ask("check", checks), ask("trial", counted), random))


def _turns(study: Study, kind: Kind, method: str, fake: str, real: str, side: Side) -> Trial:
    pictures = (study.ids[method, fake, kind == "check"], study.ids[REAL, real, False])
    return Trial(kind, *_sided(pictures, side), TURN, side)


_SIDES: tuple[Side, Side] = ("left", "right")


def _sided(pair: Pair, first: Side) -> Pair:
    """The pair with its first element on that side, as (left, right)."""
    return pair if first == "left" else (pair[1], pair[0])


def _shuffled(things: Sequence[Thing], random: Random) -> list[Thing]:
    return random.sample(things, len(things))


def _evenly(things: Sequence[Thing], count: int, random: Random) -> list[Thing]:
    """`count` of the things in random order, each as often as the others, to one."""
    rounds = -(-count // len(things))
    row = [thing for _ in range(rounds) for thing in _shuffled(things, random)][:count]
    return _shuffled(row, random)


def _spread(checks: Sequence[Trial], trials: Sequence[Trial], random: Random) -> list[Trial]:
    """Checks among the trials: one in each equal stretch, somewhere."""
    row = list(trials)
    borders = [len(trials) * index // (len(checks) or 1) for index in range(len(checks) + 1)]
    for index in reversed(range(len(checks))):
        row.insert(random.randint(borders[index], borders[index + 1]), checks[index])
    return row
