"""How much faster gesso is than a straightforward implementation of the published networks, side by side on this machine.

Every case runs in processes of its own: one in which the reference and gesso compute in turns, so that a machine that gets
slower or faster does so for both, and one for each of them alone, whose peak memory is measured. Only ratios mean much.

Examples:
    python benchmarks/bench.py --only spade local --repeats 3 --json figures.json
    python benchmarks/bench.py --against figures.json
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

if sys.argv[1:2] == ["child"]:
    from contest import measuring
else:  # a process that starts others hands its own size down to them: no PyTorch here
    from contest import report
    from contest.cases import Case, chosen
    from cyclopts import App, Parameter
    from rich.console import Console


def bench(
    *,
    only: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    repeats: int = 5,
    threads: int = 2,
    device: str = "cpu",
    layouts: Path | None = None,
    contenders: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    memory: bool = True,
    exact_steps: int = 0,
    quick: bool = False,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    against: Path | None = None,
) -> None:
    """Measure the cases one after the other, show a table, and compare with earlier figures.

    Parameters
    ----------
    only: list[str]
        Names of cases; all by default.
    repeats: int
        Rounds; in each the contenders compute in turns. Medians are over rounds.
    threads: int
        Of PyTorch on the processor.
    device: str
        cpu, cuda or cuda:N.
    layouts: Path
        A dataset with label and instance maps of Cityscapes' classes; by default the sample in data/cityscapes_sample of
        $GESSO_SHARED or of ../shared, else toy scenes.
    contenders: list[str]
        Who computes beside the reference, such as "gesso" or "gesso compile"; by default on CUDA also in bf16 and compiled.
    memory: bool
        Whether to measure peak memory, which takes a process more for each contender.
    exact_steps: int
        Steps of the training cases to take in float64 as well, whose losses are compared.
    quick: bool
        Narrow networks and small pictures: whether everything runs, not how fast.
    json_file: Path
        Write the figures to this file too.
    against: Path
        Figures of an earlier run; says what has become slower beyond the spread of either. Ends with exit code 1 then.
    """
    console = Console(width=None if Console().is_terminal else report.WIDTH)
    earlier = report.read(against) if against else None
    order = {"repeats": repeats, "threads": threads, "device": device, "quick": quick, "exact_steps": exact_steps}
    order |= {"layouts": str(layouts) if layouts else None, "sample": layouts is None, "wanted": contenders}
    with tempfile.TemporaryDirectory() as scratch:
        order["scratch"] = scratch
        found = [measured(case, order, memory, console) for case in chosen(only, quick)]
    document = {"machine": machine(device, threads), "quick": quick, "cases": found}
    console.print(report.table(document))
    for line in report.remarks(document):
        console.print(line)
    if json_file:
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    worse = report.worse(earlier, document) if earlier else []
    for line in worse:
        console.print(line)
    if earlier and not worse:
        console.print(f"Nothing is slower than in {against}.")
    sys.exit(1 if worse or any("failed" in case for case in found) else 0)


def machine(device: str, threads: int) -> dict[str, Any]:
    """What the figures depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"device": device, "threads": threads, "cores": cores, "processor": platform.machine()}


def measured(case: Case, order: dict[str, Any], memory: bool, console: Console) -> dict[str, Any]:
    """The figures of one case, or why there are none."""
    about = {"name": case.name, "title": case.title, "bar": case.bar, "memory": case.memory, "seconds": case.seconds}
    order = order | {"case": asdict(case)}
    found = ask(order | {"task": "times"}, case.title, console)
    if "found" not in found:
        return about | found
    times = found["found"]
    figures = report.figures(times)
    for name, row in figures["contenders"].items() if memory else ():
        row["peak"] = ask(order | {"task": "memory", "wanted": [name]}, case.title, console).get("found")
    return about | figures


def ask(order: dict[str, Any], title: str, console: Console) -> dict[str, Any]:
    """What a process of its own answers, its progress on the screen."""
    threads = str(order["threads"])
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, __file__, "child", json.dumps(order)]
    with (
        console.status(f"{title} ...") as status,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process,
    ):
        for line in answers(process.stdout):
            if "progress" not in line:
                return line
            status.update(f"{title}: {line['progress']} ...")
            if not console.is_terminal:
                console.print(f"{title}: {line['progress']} ...", style="dim")
    return {
        "failed": f"ended with code {process.returncode}" + " (killed, for lack of memory?)" * (process.returncode < 0)
    }


def answers(lines: Any) -> Iterator[dict[str, Any]]:
    """The lines that are meant for us."""
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        measuring.main(sys.argv[2])
    else:
        app = App(help_format="markdown")
        app.default(bench)
        try:
            app()
        except ValueError as error:
            sys.exit(f"bench: {error}")
