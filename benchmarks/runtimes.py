"""What each runtime takes for a photograph, measured side by side, and what int8 costs in the segmentation score.

Runtimes are timed in turn (A B C A B C ...), in one process and on the same layouts: only the ratios of such rounds mean anything
where the machine has other work. With --segmenter every timed runtime's pictures are measured by gesso evaluate.

Example: python benchmarks/runtimes.py run/model.safetensors --data scenes --segmenter segmenter.safetensors --json figures.json
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import App, Parameter
from PIL import Image
from rich.console import Console
from rich.table import Table

from gesso.cli.common import DataFlags, track
from gesso.cli.common import RuntimeName as Name

USUAL: tuple[Name, ...] = ("plain", "torch", "onnx", "openvino", "openvino-int8")
SCORES = ("mean_iou", "pixel_accuracy", "frechet")
app = App(help=__doc__, help_format="plaintext")
console = Console(soft_wrap=True)


@app.default
def main(
    model: Path,
    *,
    data: Path,
    split: str = "val",
    runtimes: Annotated[list[Name], Parameter(negative=(), consume_multiple=True)] = list(USUAL),  # noqa: B006
    layouts: int = 5,
    rounds: int = 3,
    calibrate: int = 32,
    segmenter: Path | None = None,
    pictures: int | None = None,
    json: Path | None = None,
) -> None:
    """Time runtimes and, with --segmenter, evaluate their pictures.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso.
    data: Path
        A dataset; of its train split int8 is calibrated where there is no int8 export beside the model yet.
    split: str
        The part that is timed and evaluated.
    runtimes: list[str]
        Those that are timed; ratios are to the first.
    layouts: int
        Layouts that are timed, from all over the split.
    rounds: int
        How often each of them is timed with each runtime, after one round that does not count.
    calibrate: int
        Layouts for int8.
    segmenter: Path
        What gesso evaluate --save-segmenter wrote.
    pictures: int
        Pictures that are evaluated; all unless given.
    json: Path
        A file for the figures.
    """
    with TemporaryDirectory() as folder:
        place = _with_int8(model, data, Path(folder), calibrate) if "openvino-int8" in runtimes else model
        synths = _open(place, runtimes)
        figures = _time(synths, _layouts(synths[runtimes[0]], data, split, layouts), rounds)
        if segmenter:
            for name, score in _scores(place, data, split, runtimes, segmenter, pictures, Path(folder)).items():
                figures[name] |= score
    _show(figures)
    if json:
        json.write_text(_dump(model, data, figures), encoding="utf-8")


def _with_int8(model: Path, data: Path, folder: Path, calibrate: int) -> Path:
    """The model, or a link to it beside which there is an int8 export."""
    from gesso.cli.export import export
    from gesso.synthesis.runtimes import int8_file

    if int8_file(model).is_file():
        return model
    linked = folder / model.name
    linked.symlink_to(model.resolve())
    export(linked, to="openvino", int8=True, data=data, calibrate=calibrate)
    return linked


def _open(model: Path, runtimes: Sequence[Name]) -> dict[str, Any]:
    from gesso.synthesis.synthesizer import load

    with console.status("loading"):
        return {name: load(model, "cpu", runtime=name) for name in runtimes}


def _layouts(synth: Any, data: Path, split: str, count: int) -> list[dict[str, Any]]:
    import numpy as np

    from gesso.cli.generate import open_layouts

    found = open_layouts(synth, data, DataFlags(), split, None, original_size=False, photographs=False)
    return [found[int(n)] for n in np.linspace(0, len(found) - 1, min(count, len(found))).round()]


def _time(synths: dict[str, Any], layouts: list[dict[str, Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds per photograph, and ratios to the first runtime layout by layout and round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in synths}
    turns = [(turn, item) for turn in range(rounds + 1) for item in layouts]
    for turn, item in track(turns, "timing", len(turns), console):
        for name, synth in synths.items():
            begin = time.perf_counter()
            _photograph(synth, item)
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    first = next(iter(seconds.values()))
    return {
        name: {
            "seconds": statistics.median(found),
            "ratio": statistics.median(one / own for one, own in zip(first, found, strict=True)),
        }
        for name, found in seconds.items()
    }


def _photograph(synth: Any, item: dict[str, Any]) -> None:
    from gesso.cli.stylist import maps_of
    from gesso.synthesis.style import Style

    quiet = Style(noise=False) if synth.style_kind == "noise" else None  # which graphs have none of
    if "source" in item:
        synth(((item["source"].movedim(0, -1) + 1) / 2).numpy(), style=quiet)
    else:
        synth(*maps_of(item), style=quiet)


def _scores(
    model: Path, data: Path, split: str, runtimes: Sequence[Name], segmenter: Path, count: int | None, folder: Path
) -> dict[str, dict[str, float]]:
    """What the evaluation says of each runtime's pictures of the same layouts, in the same styles."""
    from gesso.cli.evaluation import EvaluationSettings, read_entries, run_evaluation
    from gesso.cli.generate import generate
    from gesso.cli.style_flags import StyleFlags

    for name in runtimes:
        still = StyleFlags(noise=False) if _draws_noise(model) else None
        generate(model, data, out=folder / name, split=split, limit=count, device="cpu", runtime=name, styles=still)
    entries = read_entries([f"{name}={folder / name}" for name in runtimes])
    with Image.open(next((folder / runtimes[0]).glob("*.png"))) as first:
        size = f"{first.height}x{first.width}"  # that of training, which folders of pictures do not tell
    settings = EvaluationSettings(segmenter=str(segmenter), split=split, limit=count, device="cpu", size=size)
    found = run_evaluation(entries, data, DataFlags(), settings, folder / "evaluation", console)
    return {row.name: dict(_measures(row)) for row in found.rows if row.name in runtimes}


def _draws_noise(model: Path) -> bool:
    from gesso.checkpoints import read_info

    style = read_info(model).style
    return style is not None and style.kind == "noise"


def _measures(row: Any) -> Iterator[tuple[str, float]]:
    for key in SCORES:
        if (number := row.numbers.get(key)) is not None:
            yield key, float(number.value)


def _show(figures: dict[str, dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in figures.values() for key in row))
    table = Table("runtime", *columns)
    for name, row in figures.items():
        table.add_row(name, *(f"{row[key]:.3f}" if key in row else "" for key in columns))
    console.print(table)


def _dump(model: Path, data: Path, figures: dict[str, Any]) -> str:
    import torch

    from gesso.synthesis.graphs.described import made_with

    about = {"model": model.name, "data": data.name, "threads": torch.get_num_threads(), "versions": made_with()}
    return json.dumps({**about, "runtimes": figures}, indent=1)


if __name__ == "__main__":
    app()
