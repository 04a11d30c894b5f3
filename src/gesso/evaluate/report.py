"""An evaluation as one HTML page with everything inside: tables, bars, galleries, confusion matrices, protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gesso.evaluate import class_charts
from gesso.evaluate.galleries import Album, gallery, side_by_side
from gesso.evaluate.report_parts import anchor, details, page, section, swatch, table
from gesso.evaluate.results import COLUMNS, Evaluation, Row
from gesso.evaluate.score_tables import oracles, protocol_block, score_tables


def to_html(
    evaluation: Evaluation, folder: Path | Mapping[str, Path], *, title: str = "", remarks: Sequence[str] = ()
) -> str:
    """One page that needs nothing else.

    Args:
        evaluation: What was found; its rows have different names.
        folder: The folder that holds evaluation.json, and the pictures beside it; by name of the row where rows come from
            several. Pictures that are not there, or cannot be read, are left out.
        title: Heading; from the names of the rows if empty.
        remarks: Plain text that a reader must know before the numbers.
    """
    rows = evaluation.rows
    album = Album(dict.fromkeys((row.name for row in rows), folder) if isinstance(folder, Path) else folder)
    parts = {
        "What was compared": _compared(rows),
        "Scores": score_tables(rows, evaluation.protocol),
        "Classes": _classes(rows),
        "Side by side": _side_by_side(evaluation, album),
        "Best, median and worst": _galleries(rows, album),
        "Confusion": _confusion(rows),
        "Not measured": _missing(rows),
        "Time": _seconds(evaluation),
        "Protocol": protocol_block(evaluation.protocol),
    }
    links = "".join(f'<a href="#{anchor(name)}">{name}</a>' for name, body in parts.items() if body)
    said = "".join(f"<p>{escape(remark)}</p>" for remark in (_summary(evaluation), *remarks))
    body = f"{class_charts.STYLE}{said}<nav>{links}</nav>{''.join(section(*part) for part in parts.items())}"
    return page(title or _title(evaluation), body)


def _title(evaluation: Evaluation) -> str:
    names = [row.name for row in evaluation.rows if row.kind != "oracle"]
    shown = ", ".join(names) if len(names) <= 3 else f"{len(names)} sets of pictures"
    return f"{shown or 'Real photographs'} on {evaluation.protocol.data} {evaluation.protocol.split}".strip()


def _summary(evaluation: Evaluation) -> str:
    used = evaluation.protocol
    size = f"at {used.size[0]}x{used.size[1]}" if used.size else "each at its own size"
    segmenter = f" Segmented by {used.segmenter.name}." if used.segmenter else ""
    return f"{used.samples} layout{'s' * (used.samples != 1)} of {used.data}, split {used.split}, {size}.{segmenter}"


def _compared(rows: Sequence[Row]) -> str:
    kinds = {"oracle": "the oracle: what the layouts belong to", "model": "model", "pictures": "folder of pictures"}
    cells = [
        [f"{swatch(colour)}{escape(row.name)}", escape(", ".join([kinds[row.kind], *_facts(row.facts)]))]
        for row, colour in class_charts.with_colours(rows)
    ]
    return table(["", ""], cells, apart=oracles(rows), text=(1,))


def _facts(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{key.replace('_', ' ')} {_plain(value)}" for key, value in found.items() if value not in (None, "", {}, [])
    ]


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(_facts(value))
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


# --------------------------------------------------------------------------------------------------------- sections


def _classes(rows: Sequence[Row]) -> str:
    shown = class_charts.bars(rows, lambda c: c.iou, lambda share: f"{100 * share:.1f} %", 1.0)
    iou = f"<h3>IoU</h3>{shown}" if shown else ""
    largest = max((c.diversity or 0.0 for row in rows for c in row.classes), default=0.0)
    spread = class_charts.bars(rows, lambda c: c.diversity, lambda value: f"{value:.4f}", largest or 1.0)
    diverse = f"<h3>Diversity</h3>{spread}" if largest else ""
    shown = f"{iou}{diverse}"
    return f"{shown}{class_charts.absent(rows)}{class_charts.class_tables(rows)}" if shown else ""


def _side_by_side(evaluation: Evaluation, album: Album) -> str:
    shown = side_by_side(evaluation, album)
    return f'<p class="note">Evenly spread over the data, not chosen by score.</p>{shown}' if shown else ""


def _galleries(rows: Sequence[Row], album: Album) -> str:
    said = (
        "The layouts of each model in which most pixels agree (where nothing was segmented: those nearest to their photographs), "
        "those in the middle, and those in which fewest do. Magenta marks pixels in which another class was found."
    )
    found = [(row, gallery(row, album)) for row in rows if row.kind != "oracle"]
    several = len(found) > 1
    parts = [
        details(row.name, shown, opened=number == 0) if several else shown
        for number, (row, shown) in enumerate(found)
        if shown
    ]
    lost = [row.name for row, shown in found if not shown]
    none = f'<p class="note">No pictures were kept of {escape(", ".join(lost))}.</p>' if lost else ""
    return f'<p class="note">{said}</p>{"".join(parts)}{none}' if parts else none


def _confusion(rows: Sequence[Row]) -> str:
    maps = [(row, f"{class_charts.confusions(row)}{class_charts.heat_map(row)}") for row in rows if row.confusion]
    if not maps:
        return ""
    parts = [details(row.name, shown, opened=number < 2) for number, (row, shown) in enumerate(maps)]
    said = "Rows are the classes of the layouts, columns what the segmenter found there, in % of the row."
    return f'<p class="note">{said}</p><div class="heats">{"".join(parts)}</div>'


def _missing(rows: Sequence[Row]) -> str:
    numbers = _by_reason(rows, lambda row: row.missing.items())
    notes = _by_reason(rows, lambda row: ((name, n.note) for name, n in row.numbers.items() if n.note))
    without = f"<h3>Remarks on numbers</h3>{notes}" if notes else ""
    return f"{numbers}{without}"


def _by_reason(rows: Sequence[Row], listed: Callable[[Row], Iterable[tuple[str, str]]]) -> str:
    """Each reason once, with the rows and the numbers that it is of."""
    reasons: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for name, reason in listed(row):
            reasons[reason][row.name].append(COLUMNS[name].title if name in COLUMNS else name)
    lines = []
    for reason, found in reasons.items():
        same = len({tuple(titles) for titles in found.values()}) == 1
        groups = [(", ".join(found), next(iter(found.values())))] if same else list(found.items())
        of = "; ".join(f"{who}: {', '.join(titles)}" for who, titles in groups)
        lines.append(f'<li>{escape(reason)} <span class="note">({escape(of)})</span></li>')
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _seconds(evaluation: Evaluation) -> str:
    """A line per stage, as there are more of these than sets of pictures."""
    rows = [row for row in evaluation.rows if row.seconds]
    stages = list(dict.fromkeys(stage for row in rows for stage in row.seconds))
    if not rows:
        return ""
    cells = [[escape(stage), *(_time(row.seconds.get(stage)) for row in rows)] for stage in stages]
    totals = [sum(row.seconds.values()) for row in rows]
    each = [f"{1000 * total / max(1, evaluation.protocol.samples):.0f} ms" for total in totals]
    return table(["", *(row.name for row in rows)], [*cells, ["all", *map(_time, totals)], ["all, per layout", *each]])


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f} s"
