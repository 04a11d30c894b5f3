"""A study's numbers: what was chosen, what the protocol says otherwise, and whether there are pictures enough."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from gesso import __version__
from gesso.errors import ConfigError
from gesso.study.design import EXPOSURES, QUESTIONS, REAL, Picture, Protocol, Study

PAPER_TRIALS = 40
PAPER_PRACTICE = 10
CHECKS = 4
SPOILT_SCENES = 8  # so that participants do not all see the same attention checks


@dataclass(frozen=True)
class Settings:
    """What can be chosen; None is the protocol's own value.

    Attributes:
        protocol: How pictures are shown and what is asked.
        size: Height and width at which all are shown; None takes the pictures' own, or 256x256 in real-or-fake.
        trials: Counted trials per participant; 40, or as many as there are pairs of pictures.
        practice: Trials with feedback before them; 10 in real-or-fake, none otherwise.
        checks: Attention checks; 4, none in real-or-fake, as in pix2pix.
        exposures: Seconds (timed only); 1/8 to 8.
        unpaired: Real and fake of different scenes (real-or-fake only).
        seed: Decides what each participant is asked.
        title: Shown to participants; must not name a method.
        question: Asked at each trial.
    """

    protocol: Protocol = "ab"
    size: tuple[int, int] | None = None
    trials: int | None = None
    practice: int | None = None
    checks: int | None = None
    exposures: tuple[float, ...] | None = None
    unpaired: bool = False
    seed: int = 0
    title: str = "Photographs"
    question: str | None = None


def resolve(methods: tuple[str, ...], scenes: tuple[str, ...], size: tuple[int, int], settings: Settings) -> Study:
    """The study, every number resolved and every picture named.

    Raises:
        ConfigError: Numbers contradict each other, or there are too few scenes.
    """
    sitting = settings.protocol == "real-or-fake"
    _refuse_strangers(settings, sitting)
    if not all(16 <= side <= 4096 for side in size):
        raise ConfigError(
            f"Pictures would be shown at {size[0]}x{size[1]}: choose a --size HEIGHTxWIDTH of 16 to 4096 pixels each way."
        )
    checks = settings.checks if settings.checks is not None else 0 if sitting else min(CHECKS, len(scenes))
    practice = (PAPER_PRACTICE if settings.practice is None else settings.practice) if sitting else 0
    pairs = 1 if sitting else len(methods) * (len(methods) - 1) // 2
    most = max(0, len(scenes) - practice - checks) if sitting else pairs * len(scenes)
    trials = settings.trials if settings.trials is not None else PAPER_TRIALS if sitting else min(PAPER_TRIALS, most)
    if checks > len(scenes):
        raise ConfigError(f"--checks {checks} needs as many scenes, and there are {len(scenes)}: give fewer.")
    if trials > most:
        needed = f"{practice} practice trials, {trials} trials and {checks} checks" if sitting else f"--trials {trials}"
        raise ConfigError(
            f"{needed} need more than the {len(scenes)} scenes that there are, as nobody is asked the same twice: give "
            + ("more pictures, or fewer with --trials and --practice." if sitting else f"--trials {most} or fewer.")
        )
    if settings.unpaired and min(trials, practice or trials) < 2:
        raise ConfigError("--unpaired needs at least two trials, and two of practice, if any.")
    timed = settings.protocol == "timed"
    return Study(
        gesso_version=__version__,
        id=secrets.token_hex(16),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        title=settings.title,
        question=settings.question or QUESTIONS[settings.protocol],
        protocol=settings.protocol,
        methods=methods,
        scenes=scenes,
        size=size,
        trials=trials,
        practice=practice,
        checks=checks,
        exposures=(settings.exposures or EXPOSURES) if timed else (),
        unpaired=settings.unpaired,
        seed=settings.seed,
        pictures=_pictures(methods, scenes, checks, settings),
    )


def _refuse_strangers(settings: Settings, sitting: bool) -> None:
    """Refuse numbers below what makes sense, and settings of another protocol."""
    for name, value, least in (
        ("trials", settings.trials, 1),
        ("practice", settings.practice, 0),
        ("checks", settings.checks, 0),
    ):
        if value is not None and value < least:
            raise ConfigError(f"--{name} {value}: give at least {least}.")
    if settings.practice and not sitting:
        raise ConfigError(
            "--practice is for real-or-fake: elsewhere no answer is right, so there is no feedback to give."
        )
    if settings.unpaired and not sitting:
        raise ConfigError("--unpaired is for real-or-fake: other comparisons are of one scene.")
    if settings.exposures is not None and settings.protocol != "timed":
        raise ConfigError(f"--exposures is for the protocol timed, not {settings.protocol}.")
    if settings.exposures is not None and not all(0.02 <= seconds <= 60 for seconds in settings.exposures or (0,)):
        raise ConfigError("--exposures are seconds from 0.02 (about one frame of a screen) to 60, such as 1/8,1,8.")


def _pictures(methods: Sequence[str], scenes: Sequence[str], checks: int, settings: Settings) -> tuple[Picture, ...]:
    """Every picture under an id that says nothing, in the order of the ids."""
    spoilt = Random(f"{settings.seed}/checks").sample(
        scenes, min(len(scenes), max(checks, SPOILT_SCENES)) if checks else 0
    )
    spoilable = [method for method in methods if not (settings.protocol == "real-or-fake" and method == REAL)]
    wanted = [(method, scene, False) for method in methods for scene in scenes]
    wanted += [(method, scene, True) for method in spoilable for scene in spoilt]
    found = [Picture(id=secrets.token_hex(16), method=m, scene=s, spoilt=bad) for m, s, bad in wanted]
    return tuple(sorted(found, key=lambda picture: picture.id))
