"""The doctor's report for people: facts, a picture of the class shares, findings by severity, a verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gesso.data.doctor.files import Finding, Severity
from gesso.data.doctor.report import ClassUse, Report

_ROWS = 24  # classes drawn at most
_BAR = 32  # columns of the longest bar
_LISTED = 6  # aspect ratios and countable classes named
_LINES = 5  # files listed per kind of finding
_STYLES: dict[Severity, str] = {"error": "bold red", "warning": "bold yellow", "note": "bold cyan"}


def render(report: Report, console: Console) -> None:
    """Print the report: at most 24 classes, and per kind of finding 5 files and the number of the rest."""
    console.print(_facts(report))
    if report.labelled:
        console.print(Padding(_classes(report, console.options.ascii_only), (1, 0, 0, 0)))
    if len(report.unknown) > 1:
        console.print(Padding(_unknown(report), (1, 0, 0, 0)))
    for severity in ("error", "warning", "note"):
        _findings(report.of(severity), report.root, console)
    console.print()
    console.print(_verdict(report))


def _plural(number: int, noun: str) -> str:
    ending = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{ending}"


# -------------------------------------------------------------------------------------------------------------- facts


def _facts(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("dataset", Text(str(report.root), style="bold"))
    table.add_row("read as", report.convention + (f", split {report.split}" if report.split else ""))
    table.add_row("samples", f"{report.samples:,}" + _without_photographs(report))
    table.add_row("size", _sizes(report))
    if len(report.aspect_ratios) > 1:
        table.add_row("width / height", _ratios(report))
    if report.space:
        state = ", proposed from the label maps" if report.proposed else ""
        table.add_row("label space", f"{report.space.name}: {_plural(len(report.space), 'class')}{state}")
        table.add_row("instances", _instances(report))
    if report.source_channels:
        table.add_row("sources", f"{_plural(report.source_channels, 'channel')}")
    return table


def _without_photographs(report: Report) -> str:
    missing = report.samples - report.photographs
    return f", {missing:,} without photograph" if missing else ""


def _sizes(report: Report) -> str:
    if report.median_size is None:
        return "unknown"
    height, width = report.median_size
    if len(report.sizes) == 1:
        return f"{width}x{height}"
    return f"{_plural(len(report.sizes), 'size')}, median {width}x{height}"


def _ratios(report: Report) -> str:
    """The aspect ratios of most samples, with how many have them."""
    ratios = list(report.aspect_ratios)
    usual = sorted(report.aspect_ratios.items(), key=lambda item: -item[1])[:_LISTED]
    listed = ", ".join(f"{ratio:.2f} ({samples:,})" for ratio, samples in usual)
    more = f" and {len(ratios) - _LISTED} others" if len(ratios) > _LISTED else ""
    return f"{ratios[0]:.2f} to {ratios[-1]:.2f}: {listed}{more}"


def _instances(report: Report) -> str:
    if report.instances == "file":
        return "from files"
    if report.instances == "none" or not report.space:
        return "none: no class of the space is countable"
    names = [report.space.names[index] for index in report.space.things]
    shown = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    return f"no files; connected components of {shown}"


# ------------------------------------------------------------------------------------------------------------ classes


def _classes(report: Report, ascii_only: bool) -> Table:
    """Class shares as bars, the largest first."""
    used = sorted((use for use in report.classes if use.pixels), key=lambda use: -use.pixels)
    shown = used if len(used) <= _ROWS else used[: _ROWS - 1]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("class", no_wrap=True)
    table.add_column("share", justify="right")
    table.add_column("in maps", justify="right")
    table.add_column("")
    for use in shown:
        share = use.pixels / report.labelled
        bar = _bar(use.pixels / used[0].pixels, ascii_only)
        table.add_row(_swatch(use, ascii_only), Text(use.name), _percent(share), f"{use.maps:,}", bar)
    if rest := used[len(shown) :]:
        share = sum(use.pixels for use in rest) / report.labelled
        table.add_row("", Text(f"{len(rest)} rarer classes", style="dim"), _percent(share), "", "")
    if report.ignored:
        share = report.ignored_share
        table.add_row(
            "", Text("ignored", style="dim"), Text(_percent(share), style="dim"), "", Text("of all", style="dim")
        )
    return table


def _swatch(use: ClassUse, ascii_only: bool) -> Text:
    red, green, blue = use.colour
    return Text("##" if ascii_only else "██", style=f"rgb({red},{green},{blue})")


def _bar(length: float, ascii_only: bool) -> str:
    """A bar of `length` 0..1, in eighths of a character where the terminal has them."""
    if ascii_only:
        return "#" * max(1, round(length * _BAR))
    eighths = max(1, round(length * _BAR * 8))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _percent(share: float) -> str:
    return "< 0.01 %" if 0 < share < 0.0001 else f"{100 * share:.2f} %"


def _unknown(report: Report) -> Table:
    table = Table(
        title="values without a class", title_justify="left", title_style="bold", box=None, header_style="dim"
    )
    for heading in ("value", "pixels", "label maps", "first map", "row", "column"):
        table.add_column(heading, justify="left" if heading == "first map" else "right")
    for item in report.unknown[:_ROWS]:
        place = (Text(_relative(item.path, report.root)), str(item.row), str(item.column))
        table.add_row(str(item.value), f"{item.pixels:,}", f"{item.files:,}", *place)
    if len(report.unknown) > _ROWS:
        table.caption = f"and {len(report.unknown) - _ROWS:,} values more"
    return table


# ----------------------------------------------------------------------------------------------------------- findings


def _findings(findings: Sequence[Finding], root: Path, console: Console) -> None:
    by_code: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_code[finding.code].append(finding)
    for code, group in by_code.items():
        severity = group[0].severity
        files = f" in {_plural(len(group), 'file')}" if len(group) > 1 else ""
        console.print()
        console.print(Text.assemble((severity, _STYLES[severity]), f"  {code}", (files, "dim")))
        for finding in group[:_LINES]:
            console.print(Padding(_described(finding, root), (0, 0, 0, 2)), highlight=False)
        if len(group) > _LINES:
            console.print(Padding(Text(f"... and {len(group) - _LINES:,} more", style="dim"), (0, 0, 0, 2)))


def _described(finding: Finding, root: Path) -> Text:
    subject = f"{_relative(finding.path, root)} " if finding.path else ""
    return Text.assemble((subject, "bold"), finding.message)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _verdict(report: Report) -> Text:
    counts = ", ".join(_plural(len(report.of(severity)), severity) for severity in _STYLES)
    if not report.ok:
        return Text.assemble(("Training would fail", "bold red"), f": {counts}.")
    what = "Training can start" if report.photographs else "The layouts are sound"
    return Text.assemble((what, "bold green"), f": {counts}.")
