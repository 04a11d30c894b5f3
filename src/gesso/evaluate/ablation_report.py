"""An ablation as one HTML page: what can be said, a table and pictures for each question, and what the tables mean."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from gesso.evaluate.ablation_results import Ablation, Comparison, Summary, Variant
from gesso.evaluate.galleries import Album
from gesso.evaluate.report_parts import (
    Head,
    Scale,
    anchor,
    data_uri,
    details,
    facts,
    heading,
    number_cell,
    page,
    scale_of,
    section,
    table,
    value_text,
)
from gesso.evaluate.results import COLUMNS, Evaluation, Row
from gesso.evaluate.score_tables import GROUPS, protocol_block

SHOWN = 6  # layouts on a sheet
WIDEST = 320  # pixels of a picture on a sheet
STYLE = """<style>
.verdict { display: block; font-size: 12px; white-space: nowrap }
.better { color: var(--hue2); font-weight: 600 } .worse { color: var(--hue1); font-weight: 600 }
.higher, .lower { color: var(--hue0); font-weight: 600 } .inconclusive { color: var(--soft) }
.sheet td { min-width: 11rem; padding: .3rem } .sheet th:first-child { min-width: 6rem; max-width: 8rem; font-weight: 400 }
</style>"""


def to_html(ablation: Ablation, evaluation: Evaluation, folder: Path) -> str:
    """One page that needs nothing else.

    Args:
        ablation: What was found.
        evaluation: The rows that it was found in.
        folder: The folder of evaluation.json, with the pictures; those that are not there are left out.
    """
    album = Album({row.name: folder for row in evaluation.rows})
    parts = {"What can be said": _findings(ablation)}
    for comparison in ablation.comparisons:
        parts[f"{comparison.name}: {comparison.question}"] = _comparison(comparison, evaluation, album)
    parts["How to read this"] = _rule(ablation, evaluation)
    parts["Runs"] = _runs(ablation)
    parts["Settings"] = details("all settings that the variants start from", _settings(ablation))
    parts["Protocol"] = protocol_block(evaluation.protocol)
    links = "".join(
        f'<a href="#{anchor(name)}">{escape(name.split(":")[0])}</a>' for name, body in parts.items() if body
    )
    said = f"<p>{escape(_summary(ablation, evaluation))}</p>"
    body = f"{STYLE}{said}<nav>{links}</nav>{''.join(section(*part) for part in parts.items())}"
    return page(f"Ablations of {ablation.recipe} on {evaluation.protocol.data}", body)


def _summary(ablation: Ablation, evaluation: Evaluation) -> str:
    used, count = evaluation.protocol, len(ablation.seeds)
    runs = {run.name for c in ablation.comparisons for variant in c.variants for run in variant.runs}
    segmenter = f" Segmented by {used.segmenter.name}." if used.segmenter else ""
    return (
        f"Preset {ablation.preset}, {len(runs)} trainings of {ablation.budget} each, {count} seed{'s' * (count != 1)} per "
        f"variant; measured on {used.samples} layouts of {used.data}, split {used.split}.{segmenter}"
    )


# ------------------------------------------------------------------------------------------------------- what it says


def findings(comparison: Comparison) -> list[str]:
    """In plain text, a line per variant: where it differs from the first one, and in how many numbers that is open."""
    compared = comparison.compared
    if len(compared) < 2:
        return []
    first, *others = compared
    return [f"{variant.name} beside {first.name}: {_said(variant)}" for variant in others]


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


def _findings(ablation: Ablation) -> str:
    lines = [
        f"<li><b>{escape(comparison.name)}</b>: {escape(line)}</li>"
        for comparison in ablation.comparisons
        for line in findings(comparison)
    ]
    absent = "".join(f'<p class="note">{escape(line)}</p>' for line in ablation.left_out)
    return (f"<ul>{''.join(lines)}</ul>" if lines else "") + absent


def _rule(ablation: Ablation, evaluation: Evaluation) -> str:
    page_of = ablation.evaluation.replace(".json", ".html")
    level = f"{100 * evaluation.protocol.level:g} %"
    lines = [
        f"Each number is the mean over {len(ablation.seeds)} seeds, whose own numbers stand below it. The interval spans the "
        f"{level} intervals over pictures of all seeds.",
        "A variant is called better or worse than the first one of its group only where the two intervals do not meet. "
        "Everywhere else the comparison is inconclusive: another seed, or other layouts, might turn it round. With many numbers "
        "one or another may part by chance all the same. Numbers without intervals are not judged.",
        f"All trainings had {ablation.budget}, in rounds in which all took turns, at a constant learning rate. A variant that "
        "computes less takes more steps in the same minutes; the steps are listed under Runs. What longer trainings would bring "
        "is another question.",
    ]
    if len(ablation.seeds) < 2:
        lines.append(
            "With one seed nothing is known about chance in training, so that every comparison is inconclusive."
        )
    lines += [f"{title}: {caveat}" for title, (_, caveat) in GROUPS.items()]
    every = f'<p>Every run by itself, with its classes and galleries: <a href="{escape(page_of)}">{escape(page_of)}</a>.</p>'
    return "".join(f"<p>{escape(line)}</p>" for line in lines) + every


# ------------------------------------------------------------------------------------------------------------- tables


def _comparison(comparison: Comparison, evaluation: Evaluation, album: Album) -> str:
    listed = "".join(f"<li>{escape(v.name)}: {escape(_what(v))}</li>" for v in comparison.variants)
    origin = f'<p class="note">{escape(comparison.origin)}. The first variant is the published one.</p>'
    if comparison.variants and comparison.variants[0].skipped and comparison.compared:
        origin += f"<p>The published variant is left out; the others are compared with {escape(comparison.compared[0].name)}.</p>"
    tables = "".join(_table(comparison, evaluation, title) for title in GROUPS)
    return f"{origin}<ul>{listed}</ul>{tables}{_sheet(comparison, evaluation, album)}"


def _what(variant: Variant) -> str:
    if variant.skipped:
        return f"left out: {variant.skipped}"
    return variant.changes if variant.rows else f"{variant.changes}; none of its trainings came to its end"


def _table(comparison: Comparison, evaluation: Evaluation, title: str) -> str:
    """One group of columns for the variants of a comparison, below the oracle."""
    families, _ = GROUPS[title]
    compared = comparison.compared
    names = [n for n, c in COLUMNS.items() if c.family in families and any(n in v.numbers for v in compared)]
    if not names:
        return ""
    scales = {name: scale_of(v.numbers[name].number for v in compared if name in v.numbers) for name in names}
    rows = [[escape(row.name), *_oracle(row, names)] for row in evaluation.rows if row.kind == "oracle"]
    apart = range(len(rows))
    rows += [[escape(v.name), *(_cell(v.numbers.get(name), name, scales[name]) for name in names)] for v in compared]
    return f"<h3>{escape(title)}</h3>{table([Head(''), *map(heading, names)], rows, apart=apart)}"


def _oracle(row: Row, names: list[str]) -> list[str]:
    return [number_cell(row.numbers.get(name), COLUMNS[name]) for name in names]


def _cell(summary: Summary | None, name: str, scale: Scale | None) -> str:
    column = COLUMNS[name]
    if summary is None:
        return "–"
    seeds = ", ".join(value_text(value, column) for value in summary.seeds)
    cell = f'{number_cell(summary.number, column, scale=scale)}<span class="interval">seeds {seeds}</span>'
    if summary.verdict is None or summary.difference is None:
        return cell
    sign = "+" if summary.difference > 0 else ""
    moved = "" if summary.verdict == "inconclusive" else f" {sign}{value_text(summary.difference, column)}"
    return f'{cell}<span class="verdict {summary.verdict}">{summary.verdict}{moved}</span>'


# ----------------------------------------------------------------------------------------------------------- pictures


def _sheet(comparison: Comparison, evaluation: Evaluation, album: Album) -> str:
    """A row per layout, a column per variant: pictures of the first seed."""
    rows = {row.name: row for row in evaluation.rows}
    columns = {variant.name: rows[variant.rows[0]] for variant in comparison.compared}
    layouts = [layout.name for layout in next(iter(columns.values())).layouts] if columns else []
    if not layouts:
        return ""
    chosen = np.unique(np.linspace(0, len(layouts) - 1, SHOWN).round().astype(int))
    lines = [_line(layouts[number], columns, album) for number in chosen]
    if not any("<img" in cell for line in lines for cell in line):
        return ""
    said = '<p class="note">Layouts evenly spread over the data, not chosen by score; the first seed.</p>'
    return f'<h3>Pictures</h3>{said}<div class="sheet">{table(["", "layout", "real", *columns], lines, text=range(1, 99))}</div>'


def _line(name: str, columns: Mapping[str, Row], album: Album) -> list[str]:
    first = next(iter(columns.values()))
    shown = [_image(album.layout(first, name), f"layout {name}", exact=True)]
    shown += [_image(album.real(first, name), f"photograph of {name}")]
    shown += [_image(album.picture(row, name), f"{name} by {variant}") for variant, row in columns.items()]
    return [escape(name), *shown]


def _image(path: Path | None, said: str, exact: bool = False) -> str:
    try:
        uri = "" if path is None else data_uri(path, widest=WIDEST, exact=exact)
    except OSError:
        uri = ""
    return f'<img alt="{escape(said)}" src="{uri}">' if uri else '<div class="none">no picture</div>'


# -------------------------------------------------------------------------------------------------------------- facts


def _runs(ablation: Ablation) -> str:
    runs = {run.name: run for c in ablation.comparisons for variant in c.variants for run in variant.runs}
    rows = [
        [
            escape(name),
            str(run.steps),
            f"{run.seconds / 60:.1f}",
            f"{run.steps / max(run.seconds, 1e-9):.2f}",
            escape(run.failed),
        ]
        for name, run in runs.items()
    ]
    heads = ["", "steps", "minutes", "steps per second", "remarks"]
    return (
        table(heads, rows, text=(4,))
        if any(run.failed for run in runs.values())
        else table(heads[:-1], [r[:-1] for r in rows])
    )


def _settings(ablation: Ablation) -> str:
    return facts((name, str(value)) for name, value in ablation.settings.items())
