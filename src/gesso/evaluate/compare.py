"""Several evaluations in one table, if their protocols agree; and that table in a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gesso.errors import DataError
from gesso.evaluate.report_parts import heading, interval_text, value_text
from gesso.evaluate.results import COLUMNS, Evaluation, Number, Protocol, Row, SegmenterFacts
from gesso.evaluate.score_tables import marked

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SHOWN = 60  # letters of a value in an error
FILE = "evaluation.json"  # as gesso evaluate calls it, so that the folder says more
SAID = {
    "classes_digest": "what the classes mean (file values, ignored ones, countable ones)",
    "size_rule": "preprocessing",
}
NAMES, COLUMN = 28, 21  # letters of a terminal that the names of numbers, and each set of pictures, take


@dataclass(frozen=True)
class Comparison:
    """Several evaluations as one.

    Attributes:
        evaluation: Rows of all, under different names; one oracle.
        folders: By name of the row, the folder that holds its evaluation.json.
        remarks: What a reader must know: other versions, or oracles that differ.
    """

    evaluation: Evaluation
    folders: Mapping[str, Path]
    remarks: tuple[str, ...]


def compare(paths: Sequence[Path]) -> Comparison:
    """Read evaluations and put them into one table.

    Args:
        paths: Of evaluation.json files, or of folders that hold one.

    Raises:
        DataError: A file cannot be read, is given twice, or was measured under another protocol; each difference is named.
    """
    files = [path / FILE if path.is_dir() else path for path in paths]
    places = [file.resolve() for file in files]
    for number, file in enumerate(files):
        if places[number] in places[:number]:
            raise DataError(f"{file} is given twice: there would be nothing to compare. Give each evaluation once.")
    found = {file: Evaluation.read(file) for file in files}
    _refuse_other_protocols({file: evaluation.protocol for file, evaluation in found.items()})
    return _joined(found)


def _refuse_other_protocols(used: Mapping[Path, Protocol]) -> None:
    tails = _tails(list(used))
    (first, expected), *others = used.items()
    for file, protocol in others:
        pairs = [pair for field in expected.differences(protocol) for pair in _differing(field, expected, protocol)]
        if pairs:
            lines = "\n".join(
                f"  {what}: {_shown(one, other)} in {tails[first]}, {_shown(other, one)} in {tails[file]}"
                for what, one, other in pairs
            )
            raise DataError(
                f"{first} and {file} were measured under different protocols: their numbers mean different things, and do not "
                f"belong in one table.\n{lines}\n"
                "Run gesso evaluate again with the same data and settings, best with all models in one command (--segmenter "
                "FILE takes a segmenter that --save-segmenter FILE kept)."
            )


def _differing(field: str, first: Protocol, second: Protocol) -> list[tuple[str, Any, Any]]:
    """A field in words with both values; of two segmenters what tells them apart, but not the scores that follow from it."""
    one, other = getattr(first, field), getattr(second, field)
    if field == "size_rule" and one and other:
        return [("preprocessing", json.loads(one), json.loads(other))]
    if not isinstance(one, SegmenterFacts) or not isinstance(other, SegmenterFacts):
        return [(SAID.get(field, field.replace("_", " ")), one, other)]
    pairs = [(part, getattr(one, part), getattr(other, part)) for part in ("name", "origin")]
    return [(f"segmenter's {part}", a, b) for part, a, b in pairs if a != b]


def _shown(value: Any, other: Any) -> str:
    """A value in an error; of a sequence or mapping what the other does not have."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        listed = [f"{key} {part}" for key, part in value.items() if other.get(key) != part]
    elif isinstance(value, tuple) and isinstance(other, tuple) and value and isinstance(value[0], str):
        listed = [f"{len(value)} in all", *(part for part in value if part not in other)]
    elif isinstance(value, tuple):
        listed = ["x".join(map(str, value))]
    else:
        listed = ["none" if value in (None, "") else str(getattr(value, "name", value))]
    text = ", ".join(listed)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _joined(found: Mapping[Path, Evaluation]) -> Comparison:
    tails = _tails(list(found))
    named = [(row, file) for file, evaluation in found.items() for row in evaluation.rows if row.kind != "oracle"]
    given = [row.name for row, _ in named]
    oracles = [(row, file) for file, evaluation in found.items() for row in evaluation.rows if row.kind == "oracle"]
    rows: list[Row] = []
    folders: dict[str, Path] = {}
    for row, file in [*oracles[:1], *named]:
        name = row.name if given.count(row.name) < 2 else f"{row.name} ({tails[file]})"
        while name in folders:  # a row that was called so by hand
            name += "'"
        rows.append(row.model_copy(update={"name": name}))
        folders[name] = file.parent
    first = next(iter(found.values()))
    remarks = (*_other_versions(found, tails), *_other_oracles(oracles, tails))
    return Comparison(Evaluation(protocol=first.protocol, rows=tuple(rows)), folders, remarks)


def _tails(files: Sequence[Path]) -> dict[Path, str]:
    """The end of each path, as much of it as tells them apart; without the file's name where all have the usual one."""
    usual = all(file.name == FILE for file in files)
    parts = {file: (file.resolve().parent if usual else file.resolve()).parts for file in files}
    for count in range(1, max(map(len, parts.values()))):
        tails = {file: "/".join(path[-count:]) for file, path in parts.items()}
        if len(set(tails.values())) == len(files):
            return tails
    return {file: str(file) for file in files}


def _other_versions(found: Mapping[Path, Evaluation], tails: Mapping[Path, str]) -> list[str]:
    first, *others = ((tails[file], evaluation.protocol.versions) for file, evaluation in found.items())
    said = []
    for tail, versions in others:
        other = [
            f"{key} {versions.get(key, 'none')}"
            for key in {**first[1], **versions}
            if versions.get(key) != first[1].get(key)
        ]
        if other:
            said.append(f"{tail} was measured with other versions than {first[0]} ({', '.join(sorted(other))}).")
    return said


def _other_oracles(oracles: Sequence[tuple[Row, Path]], tails: Mapping[Path, str]) -> list[str]:
    """Oracles of one protocol are the same pictures, so numbers that differ as shown tell that something else differed."""
    said = []
    for row, file in oracles[1:]:
        first, place = oracles[0]
        both = [name for name in COLUMNS if name in row.numbers and name in first.numbers]
        other = [name for name in both if _text(row.numbers[name], name) != _text(first.numbers[name], name)]
        if other:
            said.append(
                f"The real photographs score otherwise in {tails[file]} than in {tails[place]} "
                f"({', '.join(COLUMNS[name].title for name in other)}), which the same protocol does not explain; those of "
                f"{tails[place]} are shown."
            )
    return said


def _text(number: Number, name: str) -> str:
    return value_text(number.value, COLUMNS[name])


# -------------------------------------------------------------------------------------------------------------- terminal


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print all numbers, a line per number and a column per set of pictures; in several tables where the terminal is narrow.

    Args:
        rows: With different names; the oracle first.
        console: Where to.
    """
    names = [name for name in COLUMNS if any(name in row.numbers for row in rows)]
    fitting = max(1, (console.width - NAMES) // COLUMN)
    for start in range(0, len(rows), fitting):
        console.print(_terminal_table(rows, rows[start : start + fitting], names))
    if any(marked(rows, name) for name in names):
        console.print("* the best; ~ its interval overlaps the best's.", style="dim", highlight=False)


def _terminal_table(rows: Sequence[Row], shown: Sequence[Row], names: Sequence[str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("")
    for row in shown:
        table.add_column(Text(row.name, style="dim" if row.kind == "oracle" else ""), justify="right", overflow="fold")
    for place, name in enumerate(names):
        marks = marked(rows, name)
        ends = place + 1 < len(names) and COLUMNS[names[place + 1]].family != COLUMNS[name].family
        cells = [_terminal_cell(row, name, marks.get(row.name, "")) for row in shown]
        table.add_row(Text(heading(name).title), *cells, end_section=ends)
    return table


def _terminal_cell(row: Row, name: str, mark: str) -> Text:
    from rich.text import Text

    number = row.numbers.get(name)
    if number is None:
        return Text("–", style="dim")
    sign = {"best": "* ", "near": "~ "}.get(mark, "")
    text = Text(
        f"{sign}{_text(number, name)}", style="dim" if row.kind == "oracle" else "bold green" if mark == "best" else ""
    )
    interval = interval_text(number, COLUMNS[name])
    return text.append(f"\n{interval}", style="not bold dim") if interval else text
