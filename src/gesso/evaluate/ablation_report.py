"""An ablation as one HTML page: what can be said, a table and pictures for each question, and what the tables mean."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from gesso.evaluate.ablation_results import Ablation, Comparison, Run, Summary, Variant
from gesso.evaluate.ablation_words import cautions, findings, how_trained
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
from gesso.evaluate.results import COLUMNS, Column, Evaluation, Row
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
    runs, lost = ablation.runs, sum(bool(run.failed) for run in ablation.runs.values())
    failed = f" ({lost} of them failed)" if lost else ""
    segmenter = f" Segmented by {used.segmenter.name}." if used.segmenter else ""
    return (
        f"Preset {ablation.preset}, {len(runs)} trainings of {ablation.budget} each{failed}, {count} seed{'s' * (count != 1)} "
        f"per variant{_learned(ablation)}; measured on {used.samples} layouts of {used.data}, split {used.split}.{segmenter}"
    )


# ------------------------------------------------------------------------------------------------------- what it says


def _findings(ablation: Ablation) -> str:
    lines = [
        f"<li><b>{escape(comparison.name)}</b>: {escape(line)}</li>"
        for comparison in ablation.comparisons
        for line in [*findings(comparison), *cautions(comparison, ablation.level)]
    ]
    absent = "".join(f'<p class="note">{escape(line)}</p>' for line in ablation.left_out)
    return (f"<ul>{''.join(lines)}</ul>" if lines else "") + absent


def _rule(ablation: Ablation, evaluation: Evaluation) -> str:
    page_of = ablation.evaluation.replace(".json", ".html")
    level, wrong = f"{100 * ablation.level:g} %", f"{100 * (1 - ablation.level):g} %"
    counts = [comparison.judged for comparison in ablation.comparisons]
    lines = [
        f"Each number is the mean over the seeds whose trainings came to their end, and their own numbers stand below it. Its "
        f"{level} interval is for another training on other pictures: it holds the spread over seeds and that over pictures.",
        "A variant is called better or worse than the first one of its group where the interval of the difference, which stands "
        "below too, does not contain 0. Where it does the comparison is inconclusive: another seed, or other layouts, might turn "
        "it round. Numbers without intervals over pictures are not judged.",
        "The training is the unit. How much trainings of one variant differ is pooled over all variants of this ablation: with V "
        "variants of two seeds there are V degrees of freedom, and Student's t is taken with those. Where the two that are "
        "compared visibly differ more from seed to seed than the others, their own spread counts, with its fewer degrees of "
        "freedom. The halves of the intervals over pictures add as squares. Variants are taken as independent, although they "
        "share seeds and pictures, which makes the intervals too wide rather than too narrow.",
        f"Each number is judged for itself: {wrong} of them are called different by chance where nothing differs. In this report "
        f"{sum(counts)} are judged ({', '.join(map(str, counts))} in its groups). One alone, among many, proves little.",
        *how_trained(ablation),
        "The learning rate was constant. A variant that computes less takes more steps in the same minutes; the steps are listed "
        "under Runs. What longer trainings would bring is another question.",
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
    if comparison.variants[0].skipped and (first := comparison.baseline):
        origin += f"<p>The published variant is left out; the others are compared with {escape(first.name)}.</p>"
    if not comparison.baseline:
        origin += "".join(f"<p><b>{escape(line)}</b></p>" for line in cautions(comparison, 1.0))
    tables = "".join(_table(comparison, evaluation, title) for title in GROUPS)
    return f"{origin}<ul>{listed}</ul>{tables}{_sheet(comparison, evaluation, album)}"


def _what(variant: Variant) -> str:
    if variant.skipped:
        return f"left out: {variant.skipped}"
    if not variant.rows:
        return f"{variant.changes}; none of its trainings came to its end"
    lost = len(variant.runs) - len(variant.rows)
    return f"{variant.changes}; {lost} of {len(variant.runs)} trainings failed" if lost else variant.changes


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
    moved = f"{_signed(summary.difference, column)}"
    if summary.difference_low is not None and summary.difference_high is not None:
        ends = f"{_signed(summary.difference_low, column)} to {_signed(summary.difference_high, column)}"
        moved = f'{moved}<span class="interval">{ends}</span>'
    return f'{cell}<span class="verdict {summary.verdict}">{summary.verdict} {moved}</span>'


def _signed(value: float, column: Column) -> str:
    return f"{'+' if value > 0 else ''}{value_text(value, column)}"


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
    rows = [
        [
            escape(run.name),
            str(run.steps),
            f"{run.seconds / 60:.1f}",
            f"{run.steps / max(run.seconds, 1e-9):.2f}",
            escape(_with_what(run)),
            escape(run.failed),
        ]
        for run in ablation.runs.values()
    ]
    heads = ["", "steps", "minutes", "steps per second", "trained with", "remarks"]
    if any(run.failed for run in ablation.runs.values()):
        return table(heads, rows, text=(4, 5))
    return table(heads[:-1], [row[:-1] for row in rows], text=(4,))


def _with_what(run: Run) -> str:
    """Device, threads and slices of a training, as they were noted."""
    told = dict.fromkeys(
        f"{s.device}, {s.threads} thread{'s' * (s.threads != 1)}, {s.parallel} at a time" for s in run.stretches
    )
    slices = len({(s.unit, s.until) for s in run.stretches})
    return f"{'; '.join(told)}; {slices} slice{'s' * (slices != 1)}" if told else "not recorded"


def _learned(ablation: Ablation) -> str:
    """What was learned from, as far as it was noted."""
    last = next((run.stretches[-1] for run in ablation.runs.values() if run.stretches), None)
    return f"; learned from {last.samples} of split {last.split}, digest {last.digest}" if last else ""


def _settings(ablation: Ablation) -> str:
    return facts((name, str(value)) for name, value in ablation.settings.items())
