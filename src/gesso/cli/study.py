"""`gesso study new`, `gesso study serve` and `gesso study tally`."""

from __future__ import annotations

import shlex
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress

from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.study.design import Study
    from gesso.study.tally import Tally


def new(
    folders: list[str],
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("study"),
    protocol: Literal["ab", "timed", "real-or-fake"] = "ab",
    real: Path | None = None,
    size: str | None = None,
    trials: int | None = None,
    practice: int | None = None,
    checks: int | None = None,
    exposures: str | None = None,
    unpaired: bool = False,
    seed: int = 0,
    title: str = "Photographs",
    question: str | None = None,
) -> None:
    """Prepare a study of folders of photographs.

    Parameters
    ----------
    folders: list[str]
        Folders of generated photographs, one per method, with the same file names; NAME=FOLDER names the method.
    out: Path
        The study folder; must not exist yet.
    protocol: Literal["ab", "timed", "real-or-fake"]
        "ab" shows two photographs until one is chosen, "timed" for 1/8 to 8 seconds, "real-or-fake" one real and one fake, each
        for a second.
    real: Path
        Folder of real photographs with the same names; one more side of "ab" and "timed".
    size: str
        HEIGHTxWIDTH in pixels: show everything at this size. Needed where sizes differ; real-or-fake takes 256x256.
    trials: int
        Counted trials per participant; 40, or fewer where there are fewer pairs.
    practice: int
        Trials with feedback before them (real-or-fake); 10.
    checks: int
        Attention checks among the trials, with one picture spoilt; 4, and none in real-or-fake.
    exposures: str
        Seconds for "timed", separated by commas, such as 1/8,1/2,2.
    unpaired: bool
        Take real and fake of different scenes (real-or-fake).
    seed: int
        What each participant is asked, in which order and on which side, follows from it.
    title: str
        What participants read at the top; must not name a method.
    question: str
        What participants are asked.
    """
    from gesso.cli.common import parse_size
    from gesso.study.prepare import prepare
    from gesso.study.settings import Settings

    console = Console()
    settings = Settings(
        protocol=protocol,
        size=parse_size(size) if size else None,
        trials=trials,
        practice=practice,
        checks=checks,
        exposures=parse_exposures(exposures) if exposures is not None else None,
        unpaired=unpaired,
        seed=seed,
        title=title,
        question=question,
    )
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("blinding pictures", total=None)
        made, remarks = prepare(
            out,
            name_methods(folders),
            real,
            settings,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    for remark in remarks:
        console.print(f"Note: {remark}", soft_wrap=True, markup=False, highlight=False)
    _tell_study(made, out, console)


def _tell_study(made: Study, out: Path, console: Console) -> None:
    practice = f"{made.practice} practice trials, " if made.practice else ""
    asked = f"{practice}{made.trials} trials and {made.checks} attention checks"
    sides = (
        f"{', '.join(made.fakes)} (one per participant) and real"
        if made.protocol == "real-or-fake"
        else ", ".join(made.methods)
    )
    shown = f"{len(made.scenes)} scenes at {made.size[0]}x{made.size[1]}"
    console.print(
        f"{out}: {made.protocol}, {sides}; {shown}; each participant gets {asked}.",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    console.print("Let people take part with:", style="bold")
    console.print(
        f"  {shlex.join(['gesso', 'study', 'serve', str(out)])}", soft_wrap=True, markup=False, highlight=False
    )


def name_methods(folders: list[str]) -> dict[str, Path]:
    """Name -> folder: NAME=FOLDER as it is said, other folders by the end of their path, as much of it as tells them apart.

    Raises:
        ConfigError: Two have one name.
    """
    given: dict[str, Path] = {}
    plain: list[Path] = []
    for text in folders:
        name, equals, place = text.partition("=")
        if not equals or Path(text).is_dir():
            plain.append(Path(text))
        elif not name.strip() or name.strip() in given:
            raise ConfigError(f"{text!r} gives no new name to a folder; write NAME=FOLDER, each name once.")
        else:
            given[name.strip()] = Path(place)
    for folder in plain:
        if sum(other.resolve() == folder.resolve() for other in plain) > 1:
            raise ConfigError(f"{folder} is given twice: there would be nothing to compare.")
        name = _short_name(folder, plain)
        if name in given:
            raise ConfigError(f"Two methods would be called {name!r}: name the folders with NAME=FOLDER.")
        given[name] = folder
    return given


def _short_name(folder: Path, others: list[Path]) -> str:
    parts = folder.resolve().parts
    for count in range(1, len(parts)):
        if sum(other.resolve().parts[-count:] == parts[-count:] for other in others) == 1:
            return "/".join(parts[-count:])
    return folder.resolve().as_posix()


def parse_exposures(text: str) -> tuple[float, ...]:
    """Seconds, separated by commas, as decimals or fractions.

    Raises:
        ConfigError: Something else was given.
    """
    try:
        found = sorted({float(Fraction(part.strip())) for part in text.split(",")})
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ConfigError(f"--exposures {text!r}: give seconds separated by commas, such as 1/8,1/2,2.") from None
    return tuple(found)


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    name: Annotated[list[str] | None, Parameter(name="--name", negative=())] = None,
    kiosk: bool = False,
) -> None:
    """Show a study to participants, until interrupted. Answers are kept in FOLDER/study.sqlite as they are given.

    Parameters
    ----------
    folder: Path
        The study folder.
    host: str
        The address to listen at: 127.0.0.1 is this computer alone, 0.0.0.0 everyone who can reach it.
    port: int
        The port; 0 takes a free one.
    name: list[str]
        Host name under which participants reach the page, when it is neither localhost nor an address in numbers; repeatable.
    kiosk: bool
        Offer to begin again after the last trial, for several participants at one computer.
    """
    try:
        from gesso.serving import listen
        from gesso.study.server import create_app, run
    except ModuleNotFoundError as error:
        raise ConfigError(f"The page needs {error.name}, which is not installed: pip install 'gesso[web]'.") from None
    console = Console()
    app = create_app(folder, tuple(name or ()), kiosk)
    listening = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listening.getsockname()[1]}/"
    console.print(f"The study is at {url} (Ctrl-C ends it; answers are kept).", soft_wrap=True, highlight=False)
    run(app, listening)


def tally(
    folder: Path,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    slips: int = 0,
    confidence: float = 0.95,
) -> None:
    """Count the answers of a study, also while it is running, and write a report.

    Parameters
    ----------
    folder: Path
        The study folder.
    out: Path
        The report, an HTML file; its numbers go beside it as JSON. FOLDER/report.html if not given.
    slips: int
        Failed attention checks that are forgiven before a participant is left out.
    confidence: float
        Of the intervals, 0.5 to 1.
    """
    from gesso.study import design, report
    from gesso.study import tally as counting
    from gesso.study.store import Store

    page = out or folder / "report.html"
    if page.suffix.lower() != ".html":
        raise ConfigError(f"--out {page} is an HTML page: name a file that ends in .html.")
    made = design.load(folder)
    store = Store(folder / "study.sqlite")
    counted = counting.tally(made, store.answers(), store.sizes(), slips, confidence)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(report.to_html(made, counted), encoding="utf-8")
    page.with_suffix(".json").write_text(report.to_json(made, counted), encoding="utf-8")
    _tell_tally(made, counted, Console())
    Console().print(f"The report is {page}, its numbers {page.with_suffix('.json')}.", soft_wrap=True, highlight=False)


def _tell_tally(made: Study, counted: Tally, console: Console) -> None:
    from rich.table import Table

    from gesso.study import report

    level = f"{100 * counted.confidence:g} % interval"
    table = Table("", report.heading(made), level, "votes", "p", "agreement")
    for pair in counted.pairs:
        numbers = (
            report.percent(pair.all),
            report.interval(pair.all),
            str(pair.all.votes),
            report.probability(pair.all.p),
        )
        table.add_row(report.pair_name(made, pair), *numbers, report.agreement(pair))
    console.print(table)
    for remark in report.remarks(made, counted):
        console.print(remark, soft_wrap=True, highlight=False)
