"""`gesso evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from gesso.cli.common import Data, DataFlags
from gesso.cli.evaluation_settings import EvaluationSettings, Settings, read_entries
from gesso.cli.training_data_flags import Experiment, TrainingDataFlags


def evaluate(
    models: list[str] | None = None,
    /,
    *,
    data: Path | None = None,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("evaluation"),
    settings: Settings = None,
    flags: Data = None,
    experiment: Experiment = None,
) -> None:
    """Measure models side by side on the layouts of a dataset, and its real photographs as the oracle.

    Or, with --as-training-data, what generated photographs are worth to those who train on them.

    Parameters
    ----------
    models: list[str]
        Model files, run folders, or folders of finished pictures named like the samples; NAME=PATH names the row. Without any,
        the real photographs alone are measured.
    data: Path
        Folder of the dataset.
    out: Path
        Folder for evaluation.json, evaluation.html and pictures/; with --as-training-data for training-data.json,
        training-data.html and rows/. The same command goes on where an earlier one was interrupted.
    """
    from gesso.cli.evaluation import run_evaluation
    from gesso.evaluate.compare import print_table

    console = Console()
    tried = experiment or TrainingDataFlags()
    tried.check(models or [], settings or EvaluationSettings())
    if tried.as_training_data:
        _try(tried, data, flags or DataFlags(), settings or EvaluationSettings(), out, console)
        return
    entries = read_entries(models or [])
    found = run_evaluation(entries, data, flags or DataFlags(), settings or EvaluationSettings(), out, console)
    print_table(found.rows, console)
    console.print(
        f"{out / 'evaluation.html'} has the report, {out / 'evaluation.json'} the numbers with their protocol.",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def _try(
    flags: TrainingDataFlags,
    data: Path | None,
    where: DataFlags,
    settings: EvaluationSettings,
    out: Path,
    console: Console,
) -> None:
    """What generated photographs are worth as training data."""
    from gesso.cli.training_data import FILE, PAGE, run_experiment
    from gesso.evaluate.training_data_report import print_rows

    print_rows(run_experiment(flags, data, where, settings, out, console), console)
    console.print(
        f"{out / PAGE} has the report, {out / FILE} the numbers with their protocol.",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
