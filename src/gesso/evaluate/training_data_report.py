"""An experiment with training data as one HTML page, and as a table in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from gesso.evaluate import class_charts
from gesso.evaluate.report_parts import (
    Head,
    anchor,
    facts,
    figure,
    heading,
    interval_text,
    pictures,
    section,
    swatch,
    table,
    value_text,
)
from gesso.evaluate.report_parts import page as whole_page
from gesso.evaluate.results import COLUMNS, Row
from gesso.evaluate.score_tables import column_cells
from gesso.evaluate.segmentation import HEADLINE
from gesso.evaluate.training_data import Difference, Source, TrainingData
from gesso.evaluate.training_data_words import signed
from gesso.labels import ByteArray

if TYPE_CHECKING:
    from rich.console import Console

STYLE = "<style>.answer { font-size: 1.1rem; font-weight: 600 }</style>"
CALLED = {"real": "real photographs", "generated": "generated photographs", "both": "both"}
FIRST = "mean_iou"  # columns begin with what the answer goes by
Shown = Sequence[tuple[str, ByteArray, ByteArray]]


def to_html(found: TrainingData, shown: Shown = ()) -> str:
    """One page that needs nothing else.

    Args:
        found: The experiment.
        shown: Some photographs that were learned from: what to say below, the photograph and its label map in colours, (H, W, 3)
            uint8.
    """
    used, rows = found.conditions, [_row(source) for source in found.rows]
    answer, *others = found.findings
    parts = {
        "Scores": _scores(found, rows),
        "Classes": _classes(rows),
        "What was learned from": _shown(shown),
        "Trainings": _trainings(found.rows),
        "How to read this": _reading(found),
        "Protocol": _protocol(found),
    }
    links = "".join(f'<a href="#{anchor(name)}">{name}</a>' for name, body in parts.items() if body)
    said = "".join(f"<p>{escape(line)}</p>" for line in others)
    body = (
        f'{class_charts.STYLE}{STYLE}<p class="answer">{escape(answer)}</p>{said}<nav>{links}</nav>'
        f"{''.join(section(*part) for part in parts.items())}"
    )
    return whole_page(f"What {used.generated} is worth beside {used.data}", body)


def _row(source: Source) -> Row:
    """A row as the tables and bars of evaluations take it."""
    name = CALLED.get(source.name, source.name)
    return Row(name=name, kind="model", numbers=source.numbers, classes=source.classes)


def _columns() -> list[str]:
    return [FIRST, *(name for name in HEADLINE if name != FIRST)]


def _scores(found: TrainingData, rows: Sequence[Row]) -> str:
    used, names = found.conditions, _columns()
    columns = [column_cells(rows, name) for name in names]
    cells = []
    for number, (row, colour) in enumerate(class_charts.with_colours(rows)):
        changes = found.rows[number].differences
        cells.append(
            [
                f"{swatch(colour)}{escape(row.name)}",
                str(found.rows[number].photographs),
                *(f"{column[number]}{_beside(changes.get(name))}" for name, column in zip(names, columns, strict=True)),
            ]
        )
    said = (
        f"A segmenter that learned from each, on the {used.held_out} real photographs of {used.data}, split {used.split}. Below "
        f"each value its {100 * used.level:g} % interval, and the difference to real photographs with its own. {_chance(found)}"
    )
    return f'<p class="note">{escape(said)}</p>{table([Head(""), Head("photographs"), *map(heading, names)], cells)}'


def _beside(change: Difference | None) -> str:
    if change is None:
        return ""
    ends = "" if change.low is None or change.high is None else f" ({signed(change.low)} to {signed(change.high)})"
    return f'<span class="interval">{signed(change.value)}{ends}</span>'


def _chance(found: TrainingData) -> str:
    count = len(found.rows[0].seeds)
    if count < 2:
        return "The intervals are over pictures alone, as each row was trained once."
    return f"Values are means over {count} trainings; the intervals are over pictures and trainings."


def _classes(rows: Sequence[Row]) -> str:
    shown = class_charts.bars(rows, lambda c: c.iou, lambda share: f"{100 * share:.1f} %", 1.0)
    return f"<h3>IoU</h3>{shown}{class_charts.absent(rows)}" if shown else ""


def _shown(shown: Shown) -> str:
    if not shown:
        return ""
    figures = [part for said, image, label in shown for part in (figure(image, said), figure(label, "", exact=True))]
    return f'<p class="note">From all over each set, with their label maps.</p>{pictures(figures)}'


def _trainings(rows: Sequence[Source]) -> str:
    cells = [
        [
            f"{escape(CALLED.get(row.name, row.name))}, seed {seed}",
            str(row.photographs),
            str(row.steps),
            "–" if row.seconds[n] is None else f"{(row.seconds[n] or 0) / 60:.1f}",
            value_text(row.each[FIRST][n], COLUMNS[FIRST]),
            value_text(row.each["pixel_accuracy"][n], COLUMNS["pixel_accuracy"]),
        ]
        for row in rows
        for n, seed in enumerate(row.seeds)
    ]
    return table(["", "photographs", "steps", "minutes", "mean IoU, %", "pixel accuracy, %"], cells)


def _reading(found: TrainingData) -> str:
    lines = [
        "All rows have the same network, settings and number of steps, so that they take the same time: who has more "
        "photographs sees each of them less often. With both, real and generated photographs are shuffled together.",
        "Everything is tested on real photographs. What was checked, by digests of files: none of them is among the real ones "
        "that were learned from, and the manifest of the generated ones names none of their label maps, neither as a layout nor "
        "as one that an object was copied from. Pictures that look alike, such as those of one drive, were not looked for, nor "
        "what the model that generated had learned from.",
        "The interval of a difference is drawn in pairs, the same pictures for both rows: it is narrower than those of the two "
        "rows let expect. Where it holds 0, no difference was shown; with one training of each row, or few pictures, neither, "
        "wherever it lies.",
        "The answer is one for this model, this many real photographs, and this long a training. With few real photographs "
        "generated ones may have more to give; a longer training may turn the answer round.",
    ]
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _protocol(found: TrainingData) -> str:
    used = found.conditions
    listed = {
        "real photographs": f"{used.data}, split {used.train_split} (digest {used.digests['real'][:16]})",
        "held out": f"{used.held_out} of split {used.split} (digest {used.digests['held out'][:16]})",
        "generated photographs": f"{used.generated} (digest {used.digests['generated'][:16]})",
        "of layouts": str(used.layouts),
        "augmentations of the layouts": used.augmentations,
        "made by models": ", ".join(used.models),
        "label space": f"{used.label_space}: {', '.join(used.classes)}",
        "size": f"{used.size[0]}x{used.size[1]}",
        "budget of each training": used.budget,
        "settings of the trainings": used.settings,
        "device": f"{used.device}, {used.threads} thread{'s' * (used.threads != 1)}",
        "seed": str(used.seed),
        "intervals": f"{100 * used.level:g} %, {used.resamples} draws",
        "versions": ", ".join(f"{name} {version}" for name, version in used.versions.items()),
        "made": used.created,
    }
    return facts(listed.items())


def print_rows(found: TrainingData, console: Console) -> None:
    """The table of scores in a terminal, and what came out."""
    from rich.table import Table

    shown = Table("learned from", "photographs", "steps", "mean IoU, %", "pixel accuracy, %", "beside real, points")
    for row in found.rows:
        change = row.differences.get(FIRST)
        numbers = [_cell(row, name) for name in (FIRST, "pixel_accuracy")]
        beside = "" if change is None else signed(change.value)
        if change and change.low is not None and change.high is not None:
            beside = f"{beside} ({signed(change.low)} to {signed(change.high)})"
        shown.add_row(CALLED.get(row.name, row.name), str(row.photographs), str(row.steps), *numbers, beside)
    console.print(shown)
    for line in found.findings:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _cell(row: Source, name: str) -> str:
    number, column = row.numbers[name], COLUMNS[name]
    interval = interval_text(number, column)
    return f"{value_text(number.value, column)} ({interval})" if interval else value_text(number.value, column)
