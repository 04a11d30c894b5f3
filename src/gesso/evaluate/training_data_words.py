"""What an experiment with training data found, in plain sentences: for the page, and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from gesso.evaluate.training_data import BOTH, GENERATED, JUDGED, REAL, Difference, Source

FEW = 10  # held-out pictures; an interval over fewer is not to be relied on


def findings(rows: Sequence[Source], pictures: int, level: float = 0.95) -> tuple[str, ...]:
    """What came out, in plain sentences, the answer first.

    A difference is said to be one where its interval does not hold 0, there are several trainings of each row, whose spread is in
    it, and more than a few pictures; else that none was shown.

    Args:
        rows: From `summarise`: real, generated, both.
        pictures: How many were tested on.
        level: Confidence of the intervals.
    """
    by_name = {row.name: row for row in rows}
    real, generated, both = (by_name[name] for name in (REAL, GENERATED, BOTH))
    seeds = len(real.seeds)
    trainings = "one training of each" if seeds < 2 else f"{seeds} trainings of each"
    tried = f"{pictures} picture{'s' * (pictures != 1)}, {trainings}"
    enough = seeds > 1 and pictures >= FEW
    told = [_of_both(real, both, level, tried, enough), _of_generated(real, generated, level, tried, enough)]
    if seeds < 2:
        told.append(
            "One training of each row: another seed might give another answer, which is not in the intervals. --seeds 3 tells."
        )
    if pictures < FEW:
        told.append(f"An interval over fewer than {FEW} pictures is not to be relied on: test on more.")
    return tuple(told)


def _of_both(real: Source, both: Source, level: float, tried: str, enough: bool) -> str:
    change = both.differences[JUDGED]
    reached = f"trained on real and generated photographs together, the segmenter reaches a mean IoU of {_score(both)}"
    beside = f"{_points(change, level)} beside real ones alone ({_score(real)})"
    if enough and change.answer == "better":
        return f"Yes, the generated photographs help ({tried}): {reached}, {beside}."
    if enough and change.answer == "worse":
        return f"No, the generated photographs do harm ({tried}): {reached}, {beside}."
    return f"No difference was shown ({tried}): {reached}, {beside}."


def _of_generated(real: Source, generated: Source, level: float, tried: str, enough: bool) -> str:
    change, share = (
        generated.differences[JUDGED],
        generated.numbers[JUDGED].value / max(real.numbers[JUDGED].value, 1e-9),
    )
    reached = f"mean IoU {_score(generated)}, {_points(change, level)} beside real ones, {100 * share:.0f} % of what these give"
    if enough and change.answer == "worse":
        return f"Alone they do not replace real photographs: {reached}."
    if enough and change.answer == "better":
        return f"Alone they do better than the real ones: {reached}."
    return f"Alone, no difference to real ones was shown ({tried}): {reached}."


def _score(row: Source) -> str:
    return f"{100 * row.numbers[JUDGED].value:.1f} %"


def _points(change: Difference, level: float) -> str:
    """`+3.1 points (95 % interval +1.0 to +5.2)`."""
    if change.low is None or change.high is None:
        return f"{signed(change.value)} points (no interval)"
    return f"{signed(change.value)} points ({100 * level:g} % interval {signed(change.low)} to {signed(change.high)})"


def signed(share: float) -> str:
    """A difference of shares in points, with its sign."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")
