"""What a report shows per class: bars of every row beside the oracle, tables, and heat maps of what was taken for what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from gesso.evaluate.report_parts import details, hue, swatch, table
from gesso.evaluate.results import ClassRow, Row

Shares = npt.NDArray[np.float64]
STYLE = """<style>
.bars { columns: 2 22rem; column-gap: 2.5rem; margin: .75rem 0 }
.bars > div { break-inside: avoid; margin-bottom: .9rem }
.bars .of { display: flex; justify-content: space-between; font-size: 14px; font-weight: 600 }
.bars .of span { font-weight: 400; color: var(--soft) }
.bar { display: grid; grid-template-columns: 1fr 3.6em; gap: .5em; align-items: center; font-size: 12px; line-height: 14px }
.bar > span { text-align: right; font-variant-numeric: tabular-nums }
.bar > div { background: var(--track); height: 8px; border-radius: 2px; overflow: hidden }
.bar i { display: block; height: 100% }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; font-size: 14px; color: var(--soft) }
.heat { font: 12px system-ui, sans-serif; fill: var(--ink) }
.heat rect { fill: var(--accent) }
.heat .track { fill: var(--track) }
.heats { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start }
.heats > details { max-width: 100% }
.heats p { width: 0; min-width: 100% } /* as wide as the map below it */
</style>"""
SHOWN_FROM = 0.005  # smaller shares are not drawn
WRITTEN_UP_TO = 16  # classes up to which shares are written into the cells
LONGEST_NAME = 18  # letters


def bars(
    rows: Sequence[Row], measure: Callable[[ClassRow], float | None], show: Callable[[float], str], full: float
) -> str:
    """Bars of one measure per class, one bar per row in its colour, the oracle's in gray.

    Args:
        rows: With the same classes in the same order; those without the measure are left out.
        measure: Of a class.
        show: The measure as text.
        full: What a whole bar stands for, above 0.
    """
    coloured = [(row, colour) for row, colour in with_colours(rows) if any(measure(c) is not None for c in row.classes)]
    if not coloured:
        return ""
    parts = []
    for number, first in enumerate(coloured[0][0].classes):
        values = [(row.name, colour, measure(row.classes[number])) for row, colour in coloured]
        if first.pixels and any(value is not None for _, _, value in values):
            lines = "".join(_bar(name, colour, value, show, full) for name, colour, value in values)
            parts.append(
                f'<div><div class="of">{escape(first.name)}{_of_all(first, coloured[0][0])}</div>{lines}</div>'
            )
    legend = "".join(f"<span>{swatch(colour)}{escape(row.name)}</span>" for row, colour in coloured)
    return f'<div class="legend">{legend}</div><div class="bars">{"".join(parts)}</div>'


def _bar(name: str, colour: str, value: float | None, show: Callable[[float], str], full: float) -> str:
    text = "–" if value is None else show(value)
    width = 0.0 if value is None else 100 * min(max(value / full, 0.0), 1.0)
    track = f'<div><i style="width:{width:.1f}%;background:{colour}"></i></div>'
    return f'<div class="bar" title="{escape(name)}: {text}">{track}<span>{text}</span></div>'


def _of_all(one: ClassRow, row: Row) -> str:
    """How much of the layouts the class covers."""
    share = 100 * one.pixels / max(1, sum(c.pixels for c in row.classes))
    return f"<span>{share:.1f} % of pixels</span>" if share >= 0.05 else "<span>under 0.1 % of pixels</span>"


def with_colours(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Each row with its colour, the same all over a page."""
    others = [row.name for row in rows if row.kind != "oracle"]
    return [(row, "var(--oracle)" if row.kind == "oracle" else hue(others.index(row.name))) for row in rows]


def absent(rows: Sequence[Row]) -> str:
    """A line that names the classes that no layout holds; empty where there is none."""
    names = [c.name for c in rows[0].classes if not c.pixels] if rows else []
    return f'<p class="note">Not in these layouts: {escape(", ".join(names))}.</p>' if names else ""


def class_tables(rows: Sequence[Row]) -> str:
    """All numbers per class, a table to unfold per row."""
    tables = "".join(details(row.name, _class_table(row.classes)) for row in rows if row.classes)
    return f"<h3>All numbers per class</h3>{tables}" if tables else ""


def _class_table(classes: Sequence[ClassRow]) -> str:
    heads = ["class", "pixels", "found, %", "IoU, %", "at boundaries, %", "objects", "of objects, %", "diversity"]
    cells = []
    for c in classes:
        shares = [_percent(value) for value in (c.accuracy, c.iou, c.band_agreement)]
        diverse = "–" if c.diversity is None else f"{c.diversity:.4f}"
        cells.append([escape(c.name), f"{c.pixels:,}", *shares, str(c.objects), _percent(c.object_agreement), diverse])
    return table(heads, cells)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


# ------------------------------------------------------------------------------------------------------------- heat maps


def heat_map(row: Row) -> str:
    """The confusion matrix of a row as SVG, each class of the layouts adding up to 100 %; those in no layout are left out."""
    names, shares = _row_shares(row)
    if not len(shares):
        return ""
    there = [number for number in range(len(names)) if shares[number].any()]
    columns = [*names, "nothing known"] if shares[:, -1].any() else names
    cell = 30 if len(names) <= WRITTEN_UP_TO else 18 if len(names) <= 40 else 12
    room = 7 * min(LONGEST_NAME, max(map(len, columns))) + 12
    width, height = room + cell * len(columns) + 8, room + cell * len(there) + 8
    drawn = [_across(name, room + cell * (x + 0.5), room) for x, name in enumerate(columns)]
    for y, number in enumerate(there):
        top = room + cell * y
        drawn.append(f'<text x="{room - 6}" y="{top + cell / 2 + 4}" text-anchor="end">{_short(names[number])}</text>')
        drawn.append(
            f'<rect class="track" x="{room}" y="{top}" width="{cell * len(columns)}" height="{cell - 1}" opacity=".45"/>'
        )
        drawn += [
            _cell(room + cell * x, top, cell, shares[number, x], f"{names[number]} taken for {name}")
            for x, name in enumerate(columns)
            if shares[number, x] >= SHOWN_FROM
        ]
    return (
        f'<div class="scroll"><svg class="heat" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">'
        f"{''.join(drawn)}</svg></div>"
    )


def _row_shares(row: Row) -> tuple[list[str], Shares]:
    counts = np.array(row.confusion, dtype=np.float64)
    if not counts.size or not counts.any():
        return [], np.zeros((0, 0))
    return [c.name for c in row.classes], counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _across(name: str, x: float, bottom: float) -> str:
    """A name of a column, to be read from below."""
    return f'<text transform="translate({x + 4:.0f} {bottom - 6:.0f}) rotate(-90)">{_short(name)}</text>'


def _cell(left: float, top: float, size: int, share: float, meaning: str) -> str:
    rect = (
        f'<rect x="{left}" y="{top}" width="{size - 1}" height="{size - 1}" fill-opacity="{0.08 + 0.92 * share:.2f}">'
    )
    title = f"<title>{escape(meaning)}: {100 * share:.1f} %</title></rect>"
    if size < 30:
        return rect + title
    ink = ' style="fill:var(--card)"' if share > 0.5 else ""
    at = f'x="{left + (size - 1) / 2}" y="{top + size / 2 + 4}" text-anchor="middle" pointer-events="none"'
    return f"{rect}{title}<text {at}{ink}>{100 * share:.0f}</text>"


def _short(name: str) -> str:
    return escape(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")


def confusions(row: Row, count: int = 5) -> str:
    """The largest shares of a class that were taken for another, in words; empty where nothing was."""
    names, shares = _row_shares(row)
    columns = [*names, "nothing known"]
    wrong = [(shares[y, x], name, columns[x]) for y, name in enumerate(names) for x in range(len(columns)) if x != y]
    largest = sorted((item for item in wrong if item[0] >= SHOWN_FROM), reverse=True)[:count]
    said = [f"{100 * share:.0f} % of {one} for {other}" for share, one, other in largest]
    return f'<p class="note">Most often mistaken: {escape(", ".join(said))}.</p>' if said else ""
