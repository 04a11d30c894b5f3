"""`gesso compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gesso.errors import ConfigError


def compare(
    evaluations: list[Path],
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
) -> None:
    """Put what several runs of gesso evaluate found into one table, if they were measured under one protocol.

    Numbers of different protocols never share a table: the differences are listed instead.

    Parameters
    ----------
    evaluations: list[Path]
        evaluation.json files, or the folders that hold them.
    out: Path
        An HTML page to write, with the table, the pictures that are still there, and the protocol.
    """
    from rich.console import Console

    from gesso.evaluate import report
    from gesso.evaluate.compare import compare as join
    from gesso.evaluate.compare import print_table

    if out is not None and out.suffix.lower() != ".html":
        raise ConfigError(f"--out {out} is an HTML page: name a file that ends in .html.")
    joined = join(evaluations)
    console = Console()
    print_table(joined.evaluation.rows, console)
    for remark in joined.remarks:
        console.print(f"Note: {remark}", soft_wrap=True, markup=False, highlight=False)
    if out is not None:
        with console.status("writing the page"):
            page = report.to_html(joined.evaluation, joined.folders, remarks=joined.remarks)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
        console.print(f"The page is {out}.", soft_wrap=True, markup=False, highlight=False)
