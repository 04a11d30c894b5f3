"""The tables of scores of a report, a row per set of pictures and a column per number, and the protocol that they hold for."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isnan

from gesso.evaluate.class_charts import with_colours
from gesso.evaluate.report_parts import (
    Head,
    details,
    facts,
    heading,
    number_cell,
    overlap,
    scale_of,
    swatch,
    table,
)
from gesso.evaluate.results import COLUMNS, Protocol, Row, best

GROUPS: dict[str, tuple[tuple[str, ...], str]] = {  # heading: families of columns in it, and what a reader must know
    "Segmentation and faithfulness": (
        ("segmentation", "faithfulness"),
        "A segmenter looks at the pictures, and what it finds is compared with the layouts: over all pixels, object by object, "
        "and near the boundaries of objects. It errs on real photographs too: the first row shows how much. A model above that "
        "row paints what this segmenter likes.",
    ),
    "Distribution": (
        ("distribution",),
        "How the pictures as a set differ from the photographs as a set, in a network's features. These numbers depend on the "
        "features and on how many pictures there are: they compare with nothing outside this protocol.",
    ),
    "Against the layout's own photograph": (
        ("paired",),
        "A layout leaves colours and materials open, so that a good picture may be far from the photograph; blurred pictures do "
        "well in L1 and PSNR.",
    ),
    "Diversity and repetition": (
        ("diversity", "repetition"),
        "How much results for one layout differ: more is not better, as noise is diverse too. And how strongly textures repeat, "
        "like wallpaper, beyond what photographs of the same data do.",
    ),
}
MARKED = (
    "The best model of a column is marked; dotted underlines are values whose interval overlaps the best's, so that the order "
    "may be chance. Lines draw the models' intervals, each column on its own scale."
)


def score_tables(rows: Sequence[Row], used: Protocol) -> str:
    """All numbers of the rows that were measured, as HTML, a table per group of columns.

    Args:
        rows: With different names.
        used: What they were measured under.
    """
    said = f"Below each value is its {100 * used.level:g} % interval over pictures ({used.resamples} draws). {MARKED}"
    tables = "".join(group_table(rows, title) for title in GROUPS)
    return f'<p class="note">{escape(said)}</p>{tables}' if tables else ""


def group_table(rows: Sequence[Row], title: str) -> str:
    """One group of columns with its heading; empty where no row has any of them.

    Args:
        rows: With different names.
        title: A key of `GROUPS`.
    """
    families, caveat = GROUPS[title]
    names = [name for name, column in COLUMNS.items() if column.family in families]
    names = [name for name in names if any(name in row.numbers for row in rows)]
    if not names:
        return ""
    columns = [column_cells(rows, name) for name in names]
    cells = [
        [f"{swatch(colour)}{escape(row.name)}", *(column[number] for column in columns)]
        for number, (row, colour) in enumerate(with_colours(rows))
    ]
    shown = table([Head(""), *map(heading, names)], cells, apart=oracles(rows))
    meanings = details("what the numbers mean", facts((COLUMNS[name].title, COLUMNS[name].meaning) for name in names))
    return f'<h3>{escape(title)}</h3><p class="note">{escape(caveat)}</p>{shown}{meanings}'


def column_cells(rows: Sequence[Row], name: str) -> list[str]:
    """The cells of one column of `COLUMNS`, as HTML, in the order of the rows: best marked, intervals drawn on one scale."""
    marks = marked(rows, name)
    scale = scale_of(row.numbers[name] for row in rows if row.kind != "oracle" and name in row.numbers)
    return [
        number_cell(
            row.numbers.get(name),
            COLUMNS[name],
            mark=marks.get(row.name, ""),
            scale=None if row.kind == "oracle" else scale,
        )
        for row in rows
    ]


def marked(rows: Sequence[Row], name: str) -> dict[str, str]:
    """By row "best", or "near" where its interval overlaps that of a best one; nothing is best of one, or of equals."""
    there = [row for row in rows if row.kind != "oracle" and name in row.numbers and not isnan(row.numbers[name].value)]
    known = {row.name: row.numbers[name] for row in there}
    winners = best(there, name)
    if not winners or len(winners) == len(known):
        return {}
    leading = [known[winner] for winner in winners]
    near = {key: "near" for key, number in known.items() if any(overlap(number, other) for other in leading)}
    return near | dict.fromkeys(winners, "best")


def oracles(rows: Sequence[Row]) -> list[int]:
    """Numbers of the rows that are set apart."""
    return [number for number, row in enumerate(rows) if row.kind == "oracle"]


def protocol_block(used: Protocol) -> str:
    """Everything that must be the same for two numbers to be comparable, as a list."""
    segmenter, pictures = used.segmenter, used.diversity
    scores = (
        ", ".join(f"{COLUMNS[k].title if k in COLUMNS else k} {100 * v:.1f} %" for k, v in segmenter.scores.items())
        if segmenter
        else ""
    )
    listed = {
        "data": used.data,
        "split": used.split,
        "layouts": f"{used.samples} (digest {used.samples_digest})",
        "label space": f"{used.label_space} (digest {used.classes_digest}): {', '.join(used.classes)}"
        if used.classes
        else "none: the input is a picture",
        "size": f"{used.size[0]}x{used.size[1]}" if used.size else "each picture's own",
        "preprocessing": used.size_rule,
        "resampling": used.resampling,
        "segmenter": segmenter.name if segmenter else "none",
        "segmenter's origin": segmenter.origin if segmenter else "",
        "segmenter's own scores on the real photographs": scores,
        "features of distances between sets": used.extractor,
        "pictures of each side": str(used.set_size) if used.set_size else "",
        "neighbours (precision, recall, density, coverage)": str(used.neighbours) if used.extractor else "",
        "distance of diversity and styles": used.distance,
        "diversity": f"{pictures[0]} layouts, {pictures[1]} results each" if pictures[0] else "not measured",
        "styles": used.style,
        "band at boundaries": f"{used.band:g} pixels to each side",
        "seed": str(used.seed),
        "intervals": f"{100 * used.level:g} %, {used.resamples} draws",
        "versions": ", ".join(f"{name} {version}" for name, version in used.versions.items()),
        "made": used.created,
    }
    return facts(listed.items())
