"""What the pages of `gesso evaluate`, `gesso compare` and `gesso ablate` are made of: look, tables, numbers, intervals, pictures.

Cells and bodies are HTML that is escaped already; titles, captions and hints are plain text.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Collection, Iterable, Sequence
from html import escape
from math import isfinite, isnan
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gesso.evaluate.results import COLUMNS, Column, Number
from gesso.labels import ByteArray

HUES = 10  # colours of rows; the eleventh row begins again
WIDEST = 512  # pixels of an embedded picture: it is shown at about half of that, on dense screens too
QUALITY = 82  # of WebP
MOST_CLASSES = 1024  # colours that a picture of classes has at most
WHISKER = (96, 10)  # width and height in pixels
FIXED_SPACE = "\N{NO-BREAK SPACE}"  # where a line must not end
STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --soft: #57534e; --paper: #fafaf9; --card: #fff; --line: #e7e5e4;
  --track: #ecebe9; --shade: #0000003d; --best: #d1e3fd; --accent: #2563eb; --oracle: #78716c;
  --hue0: #2563eb; --hue1: #dc2626; --hue2: #059669; --hue3: #9333ea; --hue4: #d97706; --hue5: #0e7490;
  --hue6: #db2777; --hue7: #65a30d; --hue8: #7c2d12; --hue9: #312e81 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7e5e4; --soft: #a8a29e; --paper: #191817; --card: #262423; --line: #403c39;
    --track: #35322f; --shade: #000000c0; --best: #1e3f77; --accent: #7cacf8; --oracle: #a8a29e;
    --hue0: #60a5fa; --hue1: #f87171; --hue2: #34d399; --hue3: #c084fc; --hue4: #fbbf24; --hue5: #22d3ee;
    --hue6: #f472b6; --hue7: #a3e635; --hue8: #fdba74; --hue9: #a5b4fc }
}
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto; max-width: 1080px;
  padding: 2rem 1rem 4rem; overflow-wrap: break-word }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.25 }
h2 { margin: 2.75rem 0 .5rem; font-size: 1.3rem }
h3 { margin: 1.75rem 0 .25rem; font-size: 1rem }
h4 { margin: 1rem 0 0; font-size: 15px; color: var(--soft) }
a { color: var(--accent) }
nav { margin: 1rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; font-size: 15px }
p { margin: .4rem 0; max-width: 76ch }
.note, figcaption { color: var(--soft); font-size: 14px }
.note { max-width: 92ch }
.scroll { overflow-x: auto; margin: .5rem 0; width: fit-content; max-width: 100%;
  background: linear-gradient(to left, var(--card) 30%, transparent) right / 36px 100% no-repeat local,
    linear-gradient(to left, var(--shade), transparent) right / 12px 100% no-repeat scroll, var(--card) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .45rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top }
thead th { font-size: 13px; line-height: 1.3; color: var(--soft); font-weight: 600; vertical-align: bottom }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); min-width: 12.5rem; max-width: 16rem;
  overflow-wrap: anywhere; z-index: 1 }
td.text { max-width: 60ch }
tbody th { font-weight: 600; line-height: 1.35 }
.text { text-align: left }
.apart > * { border-bottom: 3px double var(--line) }
.apart, .apart th { color: var(--oracle) }
th[title] { cursor: help }
.value { white-space: nowrap; padding: 0 .3em; margin: 0 -.3em; border-radius: 3px }
.best { background: var(--best); color: var(--ink); font-weight: 700 }
.near { text-decoration: underline dotted; text-underline-offset: 3px }
.interval { display: block; font-size: 12px; color: var(--soft); white-space: nowrap }
svg { display: block; max-width: none }
.whisker { margin: 2px 0 0 auto }
.swatch { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .4em }
details { margin: .5rem 0 }
summary { cursor: pointer; color: var(--soft) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: .5rem 0 }
dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0 }
figure { margin: 0; max-width: 20rem }
img { display: block; width: 100%; height: auto; border-radius: 4px; background: var(--track) }
.pictures { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); margin: .4rem 0 1.1rem }
.none { display: grid; place-items: center; text-align: center; min-height: 84px; padding: .5rem; border-radius: 4px;
  background: var(--track); color: var(--soft); font-size: 13px }
@media (max-width: 600px) {
  body { padding-top: 1.25rem }
  th, td { padding: .4rem .5rem }
  th:first-child { max-width: 8rem; min-width: 7.5rem; font-size: 13px }
  .pictures { grid-template-columns: repeat(2, minmax(0, 1fr)) }
  dl { grid-template-columns: 1fr; gap: 0 }
  dd { margin-bottom: .5rem }
}
"""


class Head(NamedTuple):
    """Heading of a column: its title, and what is said when the pointer rests on it."""

    title: str
    hint: str = ""


class Scale(NamedTuple):
    """What the two ends of a whisker's track stand for."""

    low: float
    high: float


def page(title: str, body: str) -> str:
    """One HTML document that needs nothing else: no other file, no script; light or dark as the reader's system.

    Args:
        title: Of the browser's tab and, as heading, of the page; plain text.
        body: HTML below the heading.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A heading with an anchor, and HTML below it; nothing where there is nothing to show."""
    return f'<h2 id="{anchor(title)}">{escape(title)}</h2>{body}' if body else ""


def anchor(title: str) -> str:
    """What a link to a section says behind the `#`."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def table(
    heads: Sequence[Head | str],
    rows: Iterable[Sequence[str]],
    *,
    apart: Collection[int] = (),
    text: Collection[int] = (),
) -> str:
    """A table that scrolls in itself where the page is narrow; its first column names the rows and stays in sight.

    Args:
        heads: Titles of the columns, plain text; that of the first may be empty, or all, for a table without headings.
        rows: Cells, HTML; as many as there are heads.
        apart: Numbers of rows, from 0, that are set apart (the oracle).
        text: Numbers of columns, from 0, that hold words rather than numbers, set to the left.
    """
    named = [head if isinstance(head, Head) else Head(head) for head in heads]
    titles = "".join(
        f'<th scope="col"{_class(number, text)}{_hint(item.hint)}>{escape(item.title)}</th>'
        for number, item in enumerate(named)
    )
    head = f"<thead><tr>{titles}</tr></thead>" if any(item.title for item in named) else ""
    body = "".join(
        f"<tr{' class=apart' if number in apart else ''}>{_cells(row, text)}</tr>" for number, row in enumerate(rows)
    )
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[str], text: Collection[int]) -> str:
    first, *others = row
    cells = "".join(f"<td{_class(number, text)}>{cell}</td>" for number, cell in enumerate(others, start=1))
    return f'<th scope="row">{first}</th>{cells}'


def _class(number: int, text: Collection[int]) -> str:
    return " class=text" if number in text else ""


def _hint(hint: str) -> str:
    return f' title="{escape(hint)}"' if hint else ""


def facts(listed: Iterable[tuple[str, str]]) -> str:
    """A list of (name, value), both plain text; an empty value becomes a dash."""
    items = (f"<dt>{escape(name)}</dt><dd>{escape(value) or '–'}</dd>" for name, value in listed)
    return f"<dl>{''.join(items)}</dl>"


def details(summary: str, body: str, opened: bool = False) -> str:
    """Something to unfold: a line of plain text, and HTML below it."""
    return f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>{body}</details>"


# --------------------------------------------------------------------------------------------------------------- numbers


def heading(name: str) -> Head:
    """Heading of a column of `COLUMNS`: unit, and an arrow to where better is."""
    column = COLUMNS[name]
    unit = f",{FIXED_SPACE}%" if column.share else ""
    arrow = {"higher": f"{FIXED_SPACE}↑", "lower": f"{FIXED_SPACE}↓", None: ""}[column.better]
    return Head(f"{column.title}{unit}{arrow}", column.meaning)


def value_text(value: float, column: Column) -> str:
    """A value as a table shows it, without its unit: `52.1` for the share 0.521; a dash for what is not a number."""
    if isnan(value):
        return "–"
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    shown = f"{100 * value if column.share else value:.{column.digits}f}"
    return shown.removeprefix("-") if not float(shown) else shown.replace("-", "−")


def interval_text(number: Number, column: Column) -> str:
    """`50.3 to 54.0`; empty where there is no interval, or one of a single point."""
    if number.low is None or number.high is None or number.low == number.high:
        return ""
    return f"{value_text(number.low, column)} to {value_text(number.high, column)}"


def number_cell(number: Number | None, column: Column, *, mark: str = "", scale: Scale | None = None) -> str:
    """A value with its interval below, in figures and drawn.

    Args:
        number: None for a dash.
        column: What it is.
        mark: "best", "near" (its interval overlaps the best's) or nothing.
        scale: Of the drawing; None for none.
    """
    if number is None:
        return "–"
    value = f'<span class="value {mark}"{_hint(number.note)}>{value_text(number.value, column)}</span>'
    interval = interval_text(number, column)
    return f'{value}<span class="interval">{interval}</span>{whisker(number, scale) if scale and interval else ""}'


def scale_of(numbers: Iterable[Number]) -> Scale | None:
    """From the lowest to the highest end of the intervals; None where fewer than two have one, or all are one point."""
    ends = [(n.low, n.high) for n in numbers if n.low is not None and n.high is not None]
    finite = [(low, high) for low, high in ends if isfinite(low) and isfinite(high)]
    if len(finite) < 2:
        return None
    low, high = min(low for low, _ in finite), max(high for _, high in finite)
    return Scale(low, high) if high > low else None


def whisker(number: Number, scale: Scale, colour: str = "var(--accent)") -> str:
    """An interval on a track, with a dot at the value, as SVG; only the dot where there is no interval.

    Args:
        number: Value and interval.
        scale: What the ends of the track stand for; what lies beyond them is cut off there.
        colour: Any CSS colour.
    """
    width, height = WHISKER
    middle = height / 2

    def x(value: float) -> float:
        share = (value - scale.low) / (scale.high - scale.low)
        return round(middle + (width - height) * min(max(share, 0.0), 1.0), 1)

    if isnan(number.value):
        return ""
    bar = ""
    if number.low is not None and number.high is not None:
        bar = f'<path d="M{x(number.low)} {middle}H{x(number.high)}" stroke="{colour}" stroke-width="3"/>'
    return (
        f'<svg class="whisker" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<path d="M0 {middle}H{width}" stroke="var(--line)"/>{bar}'
        f'<circle cx="{x(number.value)}" cy="{middle}" r="3.5" fill="{colour}"/></svg>'
    )


def overlap(first: Number, second: Number) -> bool:
    """Whether the intervals of two numbers share a value; numbers without intervals, whether they are equal."""
    ends = [(n.value if n.low is None else n.low, n.value if n.high is None else n.high) for n in (first, second)]
    return ends[0][0] <= ends[1][1] and ends[1][0] <= ends[0][1]


def hue(number: int) -> str:
    """CSS colour of the row of that number, from 0; the oracle's is `var(--oracle)`."""
    return f"var(--hue{number % HUES})"


def swatch(colour: str) -> str:
    """A small square in a CSS colour."""
    return f'<span class="swatch" style="background:{colour}"></span>'


# -------------------------------------------------------------------------------------------------------------- pictures


def data_uri(picture: Path | ByteArray | Image.Image, *, widest: int = WIDEST, exact: bool = False) -> str:
    """A picture as a data URI (WebP).

    Args:
        picture: A file, an array (H, W, 3) uint8, or an image.
        widest: Wider pictures are scaled down to this many pixels.
        exact: Whether its colours may mean something (a layout): then, unless it has as many as photographs have, it is scaled by
            nearest neighbour and stored without loss.

    Raises:
        OSError: The file cannot be read as a picture.
    """
    if isinstance(picture, Path):
        with Image.open(picture) as opened:
            image = opened.convert("RGB")
    else:
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture.convert("RGB")
    exact = exact and image.getcolors(MOST_CLASSES) is not None
    if image.width > widest:
        size = (widest, max(1, round(image.height * widest / image.width)))
        image = image.resize(size, Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, lossless=exact, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure(
    picture: Path | ByteArray | Image.Image | None, caption: str, *, exact: bool = False, widest: int = WIDEST
) -> str:
    """A picture with its caption below (plain text); words in its place where there is no picture, or none to be read."""
    try:
        uri = "" if picture is None else data_uri(picture, widest=widest, exact=exact)
    except OSError:
        uri = ""
    shown = (
        f'<img alt="{escape(caption)}" src="{uri}" decoding="async">' if uri else '<div class="none">no picture</div>'
    )
    return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"


def pictures(figures: Iterable[str]) -> str:
    """Figures side by side, as many as fit; two on a phone."""
    return f'<div class="pictures">{"".join(figures)}</div>'
