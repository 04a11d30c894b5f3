"""Galleries: which layouts of a row are shown, where their pictures lie, and the HTML that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Literal

from gesso.evaluate.report_parts import figure, pictures
from gesso.evaluate.results import Evaluation, LayoutScore, Row

Kind = Literal["best", "median", "worst"]
LAYOUTS, REAL, WRONG = "_layouts", "_real", "_wrong"  # folders beside those of the rows
SIDE_BY_SIDE = 4  # layouts shown of all rows


def galleries(row: Row, count: int = 3) -> dict[Kind, tuple[str, ...]]:
    """Names of the best, median and worst layouts of a row; the worst first in "worst". No name is there twice.

    Layouts are ordered by their agreement; where nothing was segmented, by their L1; those without a score are left out. Among
    equals the order of the data decides. With fewer than 3 * count layouts each part is smaller.

    Args:
        row: Of an evaluation.
        count: Layouts of each kind, 1 or more.
    """
    ordered = [layout.name for layout in _ordered(row.layouts)]
    part = min(count, max(1, len(ordered) // 3))
    best, rest = ordered[:part], ordered[part:]
    split = max(0, len(rest) - part)
    middle, worst = rest[:split], rest[split:][::-1]
    start = max(0, (len(middle) - part) // 2)
    return {"best": tuple(best), "median": tuple(middle[start : start + part]), "worst": tuple(worst)}


def _ordered(layouts: Sequence[LayoutScore]) -> list[LayoutScore]:
    """The best first."""
    segmented = [layout for layout in layouts if _known(layout.agreement)]
    if segmented:
        return sorted(segmented, key=lambda layout: -(layout.agreement or 0.0))
    return sorted((layout for layout in layouts if _known(layout.l1)), key=lambda layout: layout.l1 or 0.0)


def _known(value: float | None) -> bool:
    return value is not None and isfinite(value)


class Album:
    """Where the pictures of an evaluation lie: beside its evaluation.json, as `gesso evaluate` writes them.

    Args:
        folders: By name of the row, the folder that holds its evaluation.json.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders

    def picture(self, row: Row, name: str) -> Path | None:
        """What the row shows for a layout; None where it was not kept."""
        return _find(self._folders[row.name] / row.pictures, name) if row.pictures else None

    def layout(self, row: Row, name: str) -> Path | None:
        """The layout in its colours."""
        return _find(self._folders[row.name] / "pictures" / LAYOUTS, name)

    def real(self, row: Row, name: str) -> Path | None:
        """The photograph that belongs to the layout."""
        return _find(self._folders[row.name] / "pictures" / REAL, name)

    def wrong(self, row: Row, name: str) -> Path | None:
        """The row's picture with the pixels marked that disagree with the layout."""
        return (
            _find(self._folders[row.name] / "pictures" / WRONG / Path(row.pictures).name, name)
            if row.pictures
            else None
        )


def _find(folder: Path, name: str) -> Path | None:
    path = folder / f"{name}.png"
    return path if path.is_file() else None


def gallery(row: Row, album: Album, count: int = 3) -> str:
    """Best, median and worst layouts of one row as HTML: input, real, picture, disagreement."""
    scores = {layout.name: layout for layout in row.layouts}
    parts = []
    for kind, names in galleries(row, count).items():
        shown = [_shown(row, scores[name], album) for name in names if album.picture(row, name)]
        if shown:
            parts.append(f"<h4>{kind}</h4>{''.join(shown)}")
    return "".join(parts)


def _shown(row: Row, score: LayoutScore, album: Album) -> str:
    name = score.name
    found = [
        (album.layout(row, name), "input", True),
        (album.real(row, name), "real", False),
        (album.picture(row, name), row.name, False),
        (album.wrong(row, name), "disagreement", False),
    ]
    row_of = pictures(figure(path, caption, exact=exact) for path, caption, exact in found if path)
    return f'<p class="note">{escape(name)}: {_said(score)}</p>{row_of}'


def _said(score: LayoutScore) -> str:
    said = [f"{100 * score.agreement:.1f} % of pixels agree"] if score.agreement is not None else []
    return ", ".join([*said, *([f"L1 {score.l1:.4f}"] if score.l1 is not None else [])])


def side_by_side(evaluation: Evaluation, album: Album, count: int = SIDE_BY_SIDE) -> str:
    """The same layouts in all rows that kept pictures, evenly spread over the data, not chosen by score; empty for one row."""
    rows = [(number, row) for number, row in enumerate(evaluation.rows) if row.kind != "oracle" and row.pictures]
    if len(rows) < 2:
        return ""
    first = rows[0][1]
    names = [layout.name for layout in first.layouts if all(album.picture(row, layout.name) for _, row in rows)]
    parts = []
    for name in _spread(names, count):
        sources = [(album.layout(first, name), "input", True), (album.real(first, name), "real", False)]
        made = [(album.picture(row, name), row.name, False) for _, row in rows]
        shown = pictures(figure(path, caption, exact=exact) for path, caption, exact in [*sources, *made] if path)
        parts.append(f'<p class="note">{escape(name)}</p>{shown}')
    return "".join(parts)


def _spread(names: Sequence[str], count: int) -> list[str]:
    if len(names) <= count:
        return list(names)
    return [names[(2 * number + 1) * len(names) // (2 * count)] for number in range(count)]
