"""Votes -> preferences: whose votes count, which votes count, and what they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from gesso.errors import ConfigError, DataError
from gesso.study.design import REAL, Pair, Study
from gesso.study.statistics import binomial_p, krippendorff, wilson
from gesso.study.store import Answered

FRAME = 50.0  # ms: no frame of a screen that counts is longer


@dataclass(frozen=True)
class Share:
    """Of `votes` votes, `wins` were for the first of a pair (in real-or-fake: fooled).

    Attributes:
        share: wins / votes, 0 to 1; None without votes.
        low: Lower end of Wilson's interval.
        high: Upper end.
        p: Two-sided binomial test against 1/2.
    """

    wins: int
    votes: int
    share: float | None
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class PairTally:
    """What the votes say of one pair.

    Attributes:
        first: The method whose wins are counted; in real-or-fake the one that fooled, or did not.
        second: The other one.
        all: All its votes.
        by_exposure: The same, by seconds (timed only).
        scenes: Scenes that were voted on.
        agreement: Krippendorff's alpha between participants who saw the same pair of pictures (and exposure).
        shared: How many such pairs of pictures several participants saw: what `agreement` rests on.
    """

    first: str
    second: str
    all: Share
    by_exposure: tuple[tuple[float, Share], ...]
    scenes: int
    agreement: float | None
    shared: int


@dataclass(frozen=True)
class ParticipantTally:
    """One participant: whether the votes count, and why not."""

    number: int
    votes: int
    checks: int
    failed: int
    counted: bool
    left: int
    fooled_or_first: int


@dataclass(frozen=True)
class Exposures:
    """How the measured exposures differ from those asked for, over counted participants.

    Attributes:
        measured: Exposures that were measured.
        median_error_ms: Of the absolute difference.
        largest_error_ms: Of the votes that count.
        missed: Votes left out because an exposure was wrong by more than 1.5 frames and 10 %.
        repeated: Votes left out because the trial was shown more than once.
    """

    measured: int
    median_error_ms: float
    largest_error_ms: float
    missed: int
    repeated: int


@dataclass(frozen=True)
class Tally:
    """A counted study.

    Attributes:
        enrolled: Participants that began.
        complete: Of them, those that answered everything.
        silent: Those that answered nothing that is counted.
        excluded: Those that failed more attention checks than allowed.
        votes: Votes that count.
        left: Of them, for the left picture.
        exposures: None for unlimited time.
    """

    confidence: float
    slips: int
    enrolled: int
    complete: int
    silent: int
    excluded: int
    votes: int
    left: int
    pairs: tuple[PairTally, ...]
    participants: tuple[ParticipantTally, ...]
    exposures: Exposures | None


def tally(
    study: Study,
    answers: Sequence[Answered],
    sizes: Sequence[tuple[int, int]],
    slips: int = 0,
    confidence: float = 0.95,
) -> Tally:
    """Count a study.

    Args:
        study: What was asked.
        answers: Every vote.
        sizes: Of each participant, trials answered and trials in all.
        slips: Failed attention checks that are forgiven.
        confidence: Of the intervals.

    Raises:
        ConfigError: `slips` or `confidence` make no sense.
        DataError: Nobody answered, or nothing is left to count.
    """
    if slips < 0 or not 0.5 <= confidence < 1:
        raise ConfigError(f"--slips {slips} must be 0 or more and --confidence {confidence:g} from 0.5 to below 1.")
    if not answers:
        raise DataError("There are no answers yet: let people take part with gesso study serve.")
    by_participant: defaultdict[int, list[Answered]] = defaultdict(list)
    for answer in answers:
        by_participant[answer.participant].append(answer)
    people = tuple(_participant(study, number, own, slips) for number, own in sorted(by_participant.items()))
    counted = {person.number for person in people if person.counted}
    trials = [a for a in answers if a.trial.kind == "trial" and a.participant in counted]
    votes = [a for a in trials if not _repeated(a) and not _missed(a)]
    if not votes:
        raise DataError(
            f"No vote is left to count: {len(answers)} answers were given, and {len(people) - len(counted)} of {len(people)} "
            f"participants failed more than {slips} attention checks. Let more people take part, or forgive more with --slips."
        )
    return Tally(
        confidence=confidence,
        slips=slips,
        enrolled=len(sizes),
        complete=sum(answered == total for answered, total in sizes),
        silent=len(sizes) - sum(person.votes > 0 for person in people),
        excluded=len(people) - len(counted),
        votes=len(votes),
        left=sum(a.vote.side == "left" for a in votes),
        pairs=tuple(_pair(study, pair, votes, confidence) for pair in study.pairs),
        participants=people,
        exposures=_exposures(trials, votes) if study.protocol != "ab" else None,
    )


# ---------------------------------------------------------------------------------------------------- whose, and which


def _participant(study: Study, number: int, own: Sequence[Answered], slips: int) -> ParticipantTally:
    checks = [a for a in own if a.trial.kind == "check"]
    trials = [a for a in own if a.trial.kind == "trial"]
    failed = sum(a.vote.side != a.trial.correct for a in checks)
    left = sum(a.vote.side == "left" for a in trials)
    wins = sum(_wins(study, a) for a in trials)
    return ParticipantTally(number, len(trials), len(checks), failed, failed <= slips, left, wins)


def _repeated(answer: Answered) -> bool:
    """Whether a trial of limited time was seen for longer than it should have been, because the page was loaded again."""
    return answer.trial.exposure is not None and answer.showings > 1


def _errors(answer: Answered) -> list[float]:
    """Measured minus wanted exposures in ms."""
    wanted = answer.trial.exposure
    return [] if wanted is None else [shown - 1000 * wanted for shown in answer.vote.shown_ms]


def _missed(answer: Answered) -> bool:
    allowed = max(1.5 * min(answer.vote.frame_ms, FRAME), 100 * (answer.trial.exposure or 0))
    return any(abs(error) > allowed for error in _errors(answer))


def _exposures(trials: Sequence[Answered], votes: Sequence[Answered]) -> Exposures:
    every = [abs(error) for answer in trials for error in _errors(answer)]
    counted = [abs(error) for answer in votes for error in _errors(answer)]
    repeated = sum(map(_repeated, trials))
    return Exposures(len(every), median(every), max(counted), len(trials) - len(votes) - repeated, repeated)


# --------------------------------------------------------------------------------------------------------- what they say


def _methods(study: Study, answer: Answered) -> Pair:
    """The methods of the chosen picture and of the other one."""
    left, right = (study.by_id[picture].method for picture in (answer.trial.left, answer.trial.right))
    return (left, right) if answer.vote.side == "left" else (right, left)


def _pair_of(study: Study, answer: Answered) -> Pair:
    shown = set(_methods(study, answer))
    return next(pair for pair in study.pairs if set(pair) == shown)


def _wins(study: Study, answer: Answered) -> bool:
    """Whether the first of the pair was preferred; in real-or-fake, whether the real photograph was taken for the fake."""
    chosen, _ = _methods(study, answer)
    return chosen == (REAL if study.protocol == "real-or-fake" else _pair_of(study, answer)[0])


def _share(wins: Iterable[bool], confidence: float) -> Share:
    row = list(wins)
    won = sum(row)
    share = won / len(row) if row else None
    return Share(won, len(row), share, *wilson(won, len(row), confidence), binomial_p(won, len(row)))


def _pair(study: Study, pair: Pair, votes: Sequence[Answered], confidence: float) -> PairTally:
    own = [answer for answer in votes if _pair_of(study, answer) == pair]
    units: defaultdict[tuple[object, ...], list[bool]] = defaultdict(list)
    for answer in own:
        pictures = sorted((answer.trial.left, answer.trial.right))
        units[*pictures, answer.trial.exposure].append(_wins(study, answer))
    scenes = {study.by_id[answer.trial.left].scene for answer in own}
    by_exposure = tuple(
        (seconds, _share((_wins(study, a) for a in own if a.trial.exposure == seconds), confidence))
        for seconds in sorted(study.exposures)
    )
    everything = _share((_wins(study, answer) for answer in own), confidence)
    shared = sum(len(unit) > 1 for unit in units.values())
    return PairTally(*pair, everything, by_exposure, len(scenes), krippendorff(units.values()), shared)
