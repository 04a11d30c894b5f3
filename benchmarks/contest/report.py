"""Figures out of seconds, the table, what is to be said about it, and what has become worse. Imports no PyTorch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from contest.cases import GEMM, GIB

WIDTH = 140  # columns, where no terminal says another number
OFF = 0.4  # how far the reference may be from what it took where it was first measured
LEAST_SPREAD = 0.05  # of a ratio, where too few rounds show less
EXACT = 1e-5  # relative difference that float32 sums in another order may make


def figures(times: dict[str, Any]) -> dict[str, Any]:
    """Medians, ratios with their spread, and shares of the peak, of what `measuring.times` found."""
    first = next(iter(times["contenders"].values()))["seconds"]
    peaks = {kind: statistics.median(values) for kind, values in times["gemm"].items() if values}
    every = times["contenders"].items()
    rows = {name: _row(name, found, first, peaks) for name, found in every if "failed" not in found}
    dropped = {name: found["failed"] for name, found in every if "failed" in found}
    kept = {key: times[key] for key in ("layouts", "exact", "trained") if key in times}
    return {"contenders": rows, "dropped": dropped, "gemm": peaks, **kept}


def _row(name: str, found: dict[str, Any], first: list[float], peaks: dict[str, float]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(first, found["seconds"], strict=True)]
    seconds, kind = statistics.median(found["seconds"]), "bfloat16" if "bf16" in name else "float32"
    share = 2 * found["arithmetic"] / seconds / peaks[kind]
    spread = {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    return {**found, "median": seconds, **spread, "share": share}


def read(path: Path) -> dict[str, Any]:
    """Figures of an earlier run.

    Raises:
        ValueError: The file is none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {"machine": document["machine"], "quick": document["quick"], "cases": list(document["cases"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no figures of an earlier run ({error}): give what --json has written."
        ) from None


# --------------------------------------------------------------------------------------------------------- the table


def table(document: dict[str, Any]) -> Table:
    """A line per contender."""
    about = ", ".join(f"{key} {value}" for key, value in document["machine"].items())
    shown = Table(
        title=about, caption="narrow networks, small pictures: no figures of speed" if document["quick"] else None
    )
    shown.add_column("case", no_wrap=True)
    shown.add_column("who", no_wrap=True)
    for title in ("seconds", "ratio", "spread", "bar", "peak GiB", "GMAC", "of peak", "difference"):
        shown.add_column(title, justify="right", no_wrap=True)
    for case in document["cases"]:
        for row in _lines(case):
            shown.add_row(*row)
        shown.add_section()
    return shown


def _lines(case: dict[str, Any]) -> Iterator[list[str]]:
    if "contenders" not in case:
        yield [case["title"], "not there" if "missing" in case else "failed", *[""] * 8]
        return
    for number, (name, row) in enumerate(case["contenders"].items()):
        ratio, spread = (f"{row['ratio']:.2f}", f"{row['low']:.2f}-{row['high']:.2f}") if number else ("", "")
        bar = f"{case['bar']:g}" if number and case["bar"] else ""
        peak = f"{row['peak'] / GIB:.2f}" if row.get("peak") else ""
        gap = f"{row['difference']:.0e}" if number else ""
        if number and "levels" in row:
            gap = "mean {:.1f}, max {:.0f}".format(*row["levels"])
        counted = (f"{row['arithmetic'] / 1e9:.1f}", f"{row['share']:.0%}") if row["arithmetic"] else ("", "")
        yield ["" if number else case["title"], name, f"{row['median']:.3f}", ratio, spread, bar, peak, *counted, gap]


# ------------------------------------------------------------------------------------------------ what is to be said


def remarks(document: dict[str, Any]) -> list[str]:
    """Where layouts are from, what is above or below its bar, and what makes figures doubtful."""
    measured = [case for case in document["cases"] if "contenders" in case]
    found = []
    if sources := sorted({case["layouts"] for case in measured}):
        unlike = " Real layouts have other numbers of distinct neighbourhoods: ratios will differ." * (
            "toy scenes" in sources
        )
        found.append(f"Layouts: {', '.join(sources)}.{unlike}")
    if measured:
        peaks = [case["gemm"]["float32"] / 1e9 for case in measured]
        found.append(f"Large float32 matrix products meanwhile: {min(peaks):.0f} to {max(peaks):.0f} GFLOP/s.")
    for case in document["cases"]:
        found += _missed(case) if "contenders" in case else [f"{case['title']}: {_why(case)}."]
    if document["machine"]["device"] != "cpu":
        found += [_frames(case) for case in measured if case["name"] == "local"]
    return found


def _frames(case: dict[str, Any]) -> str:
    rates = (f"{name} {1 / row['median']:.1f}" for name, row in case["contenders"].items())
    return f"{case['title']}, pictures per second: {', '.join(rates)}."


def _why(case: dict[str, Any]) -> str:
    return f"not there: {case['missing']}" if "missing" in case else f"failed: {case['failed']}"


def _missed(case: dict[str, Any]) -> Iterator[str]:
    title, rows = case["title"], case["contenders"]
    expected = case["seconds"] * GEMM * 1e9 / case["gemm"]["float32"]
    took = rows["reference"]["median"]
    if expected and abs(took / expected - 1) > OFF:
        yield (
            f"{title}: the reference took {took:.2f} s; from {case['seconds']} s at {GEMM:.0f} GFLOP/s {expected:.2f} s were "
            "expected. Something else runs on this machine, or it is of another kind: be wary of the ratios."
        )
    ours = rows.get("gesso") or next((row for name, row in rows.items() if name != "reference"), None)
    if ours and case["bar"] and ours["ratio"] < case["bar"]:
        yield f"{title}: {ours['ratio']:.2f} times as fast as the reference, below the bar of {case['bar']:g}."
    if ours and case["memory"] and ours.get("peak") and ours["peak"] > case["memory"]:
        yield f"{title}: {ours['peak'] / GIB:.2f} GiB at most, above the bar of {case['memory'] / GIB:g} GiB."
    if "gesso" in rows and rows["gesso"]["difference"] > EXACT:
        yield f"{title}: differs from the reference by {rows['gesso']['difference']:.1e}, more than {EXACT:.0e}."
    if ours and ours.get("plain"):
        yield f"{title}: gesso has no engine for this network there; its plain one was measured."
    if "trained" in case:
        errors = ", ".join(
            "{}: mean {mean:.2f} (estimated as {estimate:.2f}), at most {largest:.0f}".format(mode, **row)
            for mode, row in case["trained"].items()
        )
        yield (
            f"{title}: differences are in levels of 255 from the whole picture. Random weights amplify what a trained network "
            f"does not; of gesso demo's model they are, {errors}."
        )
    for name, why in case["dropped"].items():
        yield f"{title}: {name} could not be measured ({why})."
    if "exact" in case:
        yield f"{title}: losses in float64 differ by at most {case['exact']:.1e}."


# ----------------------------------------------------------------------------------------------------------- earlier


def worse(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What has a lower ratio than before, by more than half the spread of either run, which is 5 % at the least."""
    if earlier["quick"] != now["quick"]:
        raise ValueError("One of the two runs was --quick, the other was not: they cannot be compared.")
    before = {(case["name"], name): row for case, name, row in _rows(earlier["cases"])}
    found = []
    for case, name, row in _rows(now["cases"]):
        old = before.get((case["name"], name))
        if old and name != "reference" and row["ratio"] < old["ratio"] - max(_spread(old), _spread(row)):
            found.append(f"Slower: {case['title']}, {name}: ratio {row['ratio']:.2f}, before {old['ratio']:.2f}.")
    return found


def _rows(cases: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    for case in cases:
        for name, row in case.get("contenders", {}).items():
            yield case, name, row


def _spread(row: dict[str, Any]) -> float:
    return max((row["high"] - row["low"]) / 2, LEAST_SPREAD * row["ratio"])
