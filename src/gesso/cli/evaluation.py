"""How `gesso evaluate`, and `gesso ablate` after its trainings, measure models and folders of pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gesso.cli.common import DataFlags
from gesso.cli.evaluation_data import Reference, open_data
from gesso.cli.evaluation_pictures import FolderPictures
from gesso.cli.evaluation_protocol import protocol_of
from gesso.cli.evaluation_rows import PICTURES, Bench, busy
from gesso.cli.evaluation_settings import Entry, EvaluationSettings, read_entries, refuse_equal_names
from gesso.cli.evaluation_tools import NO_PHOTOGRAPHS, open_instruments
from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.evaluate.results import Evaluation, Protocol, Row

WRITTEN, PREVIOUS = ("evaluation.json", "evaluation.html"), "previous-"
__all__ = ["Entry", "EvaluationSettings", "read_entries", "run_evaluation"]


def run_evaluation(
    entries: Sequence[Entry],
    data: Path | None,
    flags: DataFlags,
    settings: EvaluationSettings,
    out: Path,
    console: Console,
) -> Evaluation:
    """Measure models and folders of pictures on one dataset, the real photographs first; write everything into a folder.

    An interrupted evaluation goes on: pictures, the segmenter and the features of photographs are kept. What an earlier
    evaluation wrote there is called previous-evaluation until this one is done, as its pictures are overwritten.

    Args:
        entries: What is measured, from `read_entries`; nothing measures the real photographs alone.
        data: Folder of the dataset.
        flags: Where the data are.
        settings: How it is measured.
        out: Folder for evaluation.json, evaluation.html and pictures/.
        console: Where progress is shown.

    Raises:
        GessoError: Something cannot be read, made or measured; the message says what, and what to do.
    """
    from gesso.devices import choose_device
    from gesso.synthesis.inputs import refuse_seed

    settings.check()
    refuse_equal_names(entries)
    refuse_seed(settings.seed)
    device = choose_device(settings.device)
    _refuse_places(entries, out)
    reference, subjects = open_data(entries, data, flags, settings, console)
    _refuse_unstyled(reference, settings)
    folders = [
        FolderPictures(s.entry, reference, console) for s in subjects if s.layouts is None
    ]  # misses are said first
    instruments = open_instruments(reference, data, flags, settings, device, console)
    out.mkdir(parents=True, exist_ok=True)
    _set_aside(out)
    bench = Bench(reference, instruments, settings, device, out, console)
    rows = [bench.oracle()]
    for subject in subjects:
        rows.append(bench.folder(subject, folders.pop(0)) if subject.layouts is None else bench.model(subject))
    with busy("writing the report", console):
        protocol = protocol_of(reference, instruments, settings, data, flags, rows[0], console)
        return _written(rows, protocol, out, instruments.remarks)


def _refuse_places(entries: Sequence[Entry], out: Path) -> None:
    """Pictures that are read are not overwritten."""
    place = (out / PICTURES).resolve()
    for entry in entries:
        if entry.file is None and (entry.path.resolve() == place or place in entry.path.resolve().parents):
            raise ConfigError(f"--out {out} would overwrite the pictures in {entry.path}: give another folder.")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file: name a folder.")


def _refuse_unstyled(reference: Reference, settings: EvaluationSettings) -> None:
    if settings.style == "own" and not reference.photographs:
        raise ConfigError(f"--style own takes the style of each layout's photograph, but {NO_PHOTOGRAPHS}.")


def _set_aside(out: Path) -> None:
    """Numbers never lie beside pictures of another evaluation, whenever this one is interrupted."""
    for name in WRITTEN:
        if (out / name).exists():
            (out / name).replace(out / f"{PREVIOUS}{name}")


def _written(rows: Sequence[Row], protocol: Protocol, out: Path, remarks: Sequence[str]) -> Evaluation:
    from gesso.evaluate.report import to_html
    from gesso.evaluate.results import Evaluation

    evaluation = Evaluation(protocol=protocol, rows=tuple(rows))
    evaluation.save(out / WRITTEN[0])
    page, temporary = out / WRITTEN[1], out / f".evaluation.html.{os.getpid()}"
    temporary.write_text(to_html(evaluation, out, remarks=remarks), encoding="utf-8")
    temporary.replace(page)
    for name in WRITTEN:
        (out / f"{PREVIOUS}{name}").unlink(missing_ok=True)
    return evaluation
