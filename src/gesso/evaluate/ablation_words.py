"""What an ablation found and how it was trained, in plain sentences: for the page, and for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from gesso.evaluate.ablation_results import Ablation, Comparison, Run, Summary, Variant
from gesso.evaluate.report_parts import value_text
from gesso.evaluate.results import COLUMNS

# ------------------------------------------------------------------------------------------------------- what is found


def findings(comparison: Comparison) -> list[str]:
    """A line per variant: where it differs from the first one, and in how many numbers that is open."""
    first = comparison.baseline
    if first is None:
        return []
    return [f"{v.name} beside {first.name}: {_said(v)}" for v in comparison.compared if v is not first]


def cautions(comparison: Comparison, level: float) -> list[str]:
    """What must be known with the findings: failed trainings, and how many numbers were judged at once."""
    lines = []
    if comparison.first and not comparison.baseline:
        lines.append(
            f"None of the trainings of {comparison.first.name} came to its end: there is nothing to compare the others with."
        )
    for variant in comparison.compared:
        if lost := [run.name for run in variant.runs if run.failed]:
            lines.append(
                f"{variant.name}: {len(variant.rows)} of {len(variant.runs)} trainings came to their end; {', '.join(lost)} "
                "failed, and counts in no number."
            )
    if count := comparison.judged:
        by_chance = count * (1 - level)
        lines.append(
            f"{count} numbers were judged, each at {100 * (1 - level):g} %: if the variants did not differ at all, about "
            f"{by_chance:.1f} of them would be called different by chance, several together where they measure alike."
        )
    return lines


def _said(variant: Variant) -> str:
    judged = {column: summary for column, summary in variant.numbers.items() if summary.verdict}
    clear = {column: summary for column, summary in judged.items() if summary.verdict != "inconclusive"}
    told = [
        f"{word} in {', '.join(_difference(column, s) for column, s in clear.items() if s.verdict == word)}"
        for word in dict.fromkeys(s.verdict for s in clear.values())
    ]
    open_ones = len(judged) - len(clear)
    if not clear:
        return f"inconclusive in all {open_ones} numbers" if open_ones else "no numbers with intervals to compare"
    return "; ".join(told) + (f"; inconclusive in {open_ones} others" if open_ones else "")


def _difference(column: str, summary: Summary) -> str:
    assert summary.difference is not None
    now, before = (value_text(value, COLUMNS[column]) for value in (summary.mean, summary.mean - summary.difference))
    return f"{COLUMNS[column].title} ({now} instead of {before})"


# ---------------------------------------------------------------------------------------------------- how it was trained


def how_trained(ablation: Ablation) -> list[str]:
    """In which order, and in what the trainings were not alike."""
    runs = [run for run in ablation.runs.values() if not run.failed]
    if not all(run.stretches for run in runs):
        return [f"All trainings had {ablation.budget}; when and with what they were trained is not recorded of all."]
    at_once = sorted({stretch.parallel for run in runs for stretch in run.stretches})
    ways = " or ".join("one after another" if count == 1 else f"{count} at a time" for count in at_once)
    rounds = {len(_parts(run)) for run in runs}
    timed = any(stretch.unit == "seconds" for run in runs for stretch in run.stretches)
    uneven = " Whatever slowed the machine down for a time took steps from some and not from others." if timed else ""
    if rounds == {1}:
        order = f"{ways}, each in one piece.{uneven}"
    elif took_turns(runs):
        order = f"{ways}, in {rounds.pop()} rounds in which all took turns."
    else:
        order = (
            f"{ways}, but not in turns throughout: some were trained when others had gone further or had ended.{uneven}"
        )
    return [f"All trainings had {ablation.budget}: {order}", *_unlike(runs)]


def took_turns(runs: Sequence[Run]) -> bool:
    """Whether all had the same slices, two or more, and no run began one before all others had begun the one before it."""
    parts = {tuple(_parts(run)) for run in runs}
    if len(parts) != 1 or len(ends := parts.pop()) < 2:
        return False
    return all(max(_begun(runs, end)) <= min(_begun(runs, following)) for end, following in pairwise(ends))


def _parts(run: Run) -> list[tuple[str, float]]:
    """The ends of its slices, in their order; attempts at one slice are one."""
    return list(dict.fromkeys((stretch.unit, stretch.until) for stretch in run.stretches))


def _begun(runs: Iterable[Run], end: tuple[str, float]) -> list[str]:
    return [s.began for run in runs for s in run.stretches if (s.unit, s.until) == end]


def _unlike(runs: Sequence[Run]) -> list[str]:
    """What was not the same in all trainings, though none of the variants changes it."""
    lines = []
    for name in ("device", "threads", "parallel", "versions", "digest"):
        found = [", ".join(dict.fromkeys(_text(getattr(s, name)) for s in run.stretches)) for run in runs]
        if len(kinds := sorted(set(found))) > 1:
            told = "; ".join(f"{kind}: {found.count(kind)} trainings" for kind in kinds)
            lines.append(f"Not all trainings were made alike, {TITLES[name]}: {told}.")
    return lines


TITLES = {
    "device": "by device",
    "threads": "by threads",
    "parallel": "by trainings at a time",
    "versions": "by versions",
    "digest": "by the digest of their data",
}


def _text(value: object) -> str:
    return " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
