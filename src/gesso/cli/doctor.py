"""`gesso doctor`."""

from __future__ import annotations

import json as codec
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from gesso.cli.common import DEFAULT_PRESET, Data, DataFlags, open_listing
from gesso.errors import GessoError

if TYPE_CHECKING:
    from gesso.data.doctor import Report
    from gesso.data.layouts import Listing

HELD_OUT = "val"


def doctor(
    data: Path | None = None,
    *,
    split: str = "train",
    preset: str = DEFAULT_PRESET,
    write_labels: bool = False,
    json: bool = False,
    flags: Data = None,
) -> None:
    """Say what training would trip over in a dataset; exit code 1 when it would fail.

    Parameters
    ----------
    data: Path
        Folder of a dataset.
    split: str
        Part of DATA to examine.
    preset: str
        Preset that memory, time and the train command are given for.
    write_labels: bool
        Write the label space as labels.json beside the data; an existing one is left alone.
    json: bool
        Print JSON, for machines.
    """
    from gesso.cli.train import resolve
    from gesso.data.doctor import render

    resolve(preset, {}, None)  # an unknown preset is said before every file is read
    console = Console(stderr=json)
    flags = flags or DataFlags()
    listing = open_listing(data, flags, split)
    report = _examine(listing, console)
    if write_labels and report.space is not None:
        report = _write_labels(report, listing, console)
    held_out = _examine_held_out(data, flags, split, report, console)
    sound = report.ok and (held_out is None or held_out.ok)
    size = _size(report, preset)
    command = train_command(data, flags, split, preset, size) if sound and report.photographs else None
    plan = _plan(report, listing, preset, size) if command else {}
    if json:
        validation = held_out.to_json() if held_out else None
        print(
            codec.dumps(
                {**report.to_json(), "validation": validation, "train_command": command, "estimate": plan}, indent=1
            )
        )
    else:
        render(report, console)
        if held_out and held_out.findings:
            console.rule(f"held-out samples: split {held_out.split}")
            render(held_out, console)
        if command:
            _show_plan(plan, preset, command, console)
    if not sound:
        sys.exit(1)


def _examine(listing: Listing, console: Console) -> Report:
    from gesso.data.doctor import examine

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading every file", total=None)
        return examine(listing, progress=lambda done, total: bar.update(task, completed=done, total=total))


def _examine_held_out(
    data: Path | None, flags: DataFlags, split: str, report: Report, console: Console
) -> Report | None:
    """Training also reads the held-out samples, for its pictures of them."""
    from dataclasses import replace

    from gesso.data import layouts
    from gesso.errors import DataError

    if data is None or split != "train":
        return None
    try:
        if flags.convention in (None, "auto") and HELD_OUT not in layouts.splits(data):
            return None
        listing = open_listing(data, flags, HELD_OUT)
    except DataError:
        return None
    return _examine(replace(listing, space=report.space) if not report.proposed else listing, console)


def train_command(data: Path | None, flags: DataFlags, split: str, preset: str, size: dict[str, int]) -> str:
    """The command that trains on what was examined, at another size than the preset's where that would stretch pictures."""
    words = ["gesso", "train", *([str(data)] if data else [])]
    for name in ("labels", "images", "instances", "sources", "space"):
        value = getattr(flags, name)
        words += [f"--{name}", str(value)] if value is not None else []
    words += ["--direction", flags.direction] if flags.direction and flags.direction != "AtoB" else []
    words += ["--input", flags.input] if flags.input and flags.input != "auto" else []
    words += ["--split", split] if split != "train" else []
    words += ["--convention", flags.convention] if flags.convention and flags.convention != "auto" else []
    words += ["--preset", preset, *(word for name, value in size.items() for word in (f"--{name}", str(value)))]
    return shlex.join([*words, "--out", "run"])


def _size(report: Report, preset: str) -> dict[str, int]:
    """Height and width that keep the shape of most pictures, where those of the preset do not."""
    from gesso.cli.train import resolve
    from gesso.cli.train_plan import STRETCHED, unstretched

    if report.median_size is None:
        return {}
    usual, ratios = report.median_size[1] / report.median_size[0], report.aspect_ratios
    alike = sum(count for ratio, count in ratios.items() if max(ratio / usual, usual / ratio) < STRETCHED)
    better = unstretched(*resolve(preset, {}, None), report.median_size) if 2 * alike > sum(ratios.values()) else None
    return dict(zip(("height", "width"), better, strict=True)) if better else {}


def _plan(report: Report, listing: Listing, preset: str, size: dict[str, int]) -> dict[str, Any]:
    """Memory and time of one training step with a preset; empty where that cannot be told."""
    from dataclasses import replace

    from gesso.cli.train import find_semantics, resolve
    from gesso.data.preprocessing import Preprocessing
    from gesso.devices import choose_device
    from gesso.estimates import estimate

    recipe, config = resolve(preset, dict(size), None)
    if report.median_size is None:
        return {}
    semantics = find_semantics(replace(listing, space=report.space), config)
    keep = Preprocessing(
        resize=config.resize, height=config.height, width=config.width, multiple=recipe.multiple(config)
    )
    seen = config.crop or keep.plan(report.median_size).padded
    guess = estimate(recipe, config, semantics, seen, device=choose_device("auto"))
    return {
        "size": list(seen),
        "memory_bytes": guess.memory,
        "seconds_per_step": guess.seconds,
        "parameters": guess.parameters,
    }


def _show_plan(plan: dict[str, Any], preset: str, command: str, console: Console) -> None:
    if plan:
        height, width = plan["size"]
        seconds = f", {plan['seconds_per_step']:.2f} s per step on this machine" if plan["seconds_per_step"] else ""
        memory = plan["memory_bytes"] / 2**30
        console.print(
            f"{preset}, {width} wide and {height} high: about {memory:.1f} GiB of memory{seconds}.", soft_wrap=True
        )
    console.print("Train with:", style="bold")
    console.print(f"  {command}", soft_wrap=True, markup=False, highlight=False)


def _write_labels(report: Report, listing: Listing, console: Console) -> Report:
    path = listing.root / "labels.json"
    if report.space is None:
        raise GessoError(f"No label space can be proposed for {listing.root}: no label map could be read.")
    if path.exists():
        console.print(f"{path} is there already and is left alone.", soft_wrap=True)
        return report
    report.space.save(path)
    console.print(f"Wrote {path}: give its classes their names.", soft_wrap=True)
    return report.accept()
