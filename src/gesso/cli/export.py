"""`gesso export`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console

from gesso.cli.common import Data, DataFlags, parse_size
from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.export import Exported
    from gesso.synthesis.graphs.parity import Case

NO_FLAGS = DataFlags()


def export(
    model: Path,
    *,
    to: Literal["onnx", "openvino"],
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    int8: Annotated[bool, Parameter(negative=())] = False,
    data: Path | None = None,
    split: str = "",
    calibrate: int = 32,
    size: str = "",
    statistics: Literal["picture", "running"] | None = None,
    flags: Data = None,
) -> None:
    """Write a model as an ONNX or OpenVINO file for other programs, and check that it computes the same.

    The graph takes label maps of class indices, or pictures, of any size and number, and gives photographs as uint8; `gesso info`
    of the model tells its classes, and the file's own metadata the rest.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso.
    to: str
        onnx, one file; or openvino, an .xml and a .bin.
    out: Path
        The file; by default beside the model: NAME.onnx, NAME.xml, or NAME.int8.xml, where --runtime openvino-int8 looks.
    int8: bool
        Convolutions in int8, for openvino: several times faster on CPUs, and less exact. Needs --data.
    data: Path
        Layouts of your own that int8 is calibrated on: a dataset, or a folder of label maps.
    split: str
        Part of DATA; by default train.
    calibrate: int
        Number of layouts, from all over DATA.
    size: str
        HEIGHTxWIDTH of the largest layout on which the file is compared with the network; by default about that of training, at
        most 256x512.
    statistics: str
        What batch norm of pix2pix takes: the statistics of each picture, as published, or the running ones of training; what the
        model file says unless given.
    """
    from gesso.export import export as write

    _refuse_contradictions(to, int8, data, split, calibrate, flags or NO_FLAGS)
    console = Console()
    with console.status(f"reading {model.name}") as status:
        layouts, origin = None, ""
        if int8:
            status.update("reading the calibration layouts")
            layouts, origin = _calibration(model, data, flags or NO_FLAGS, split, calibrate, statistics)
        written = write(
            model,
            to,
            out,
            size=parse_size(size) if size else None,
            statistics=statistics,
            layouts=layouts,
            origin=origin,
            say=status.update,
        )
    for line in _said(written):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _refuse_contradictions(
    to: str, int8: bool, data: Path | None, split: str, calibrate: int, flags: DataFlags
) -> None:
    given = data is not None or flags != NO_FLAGS
    if int8 and to != "openvino":
        raise ConfigError(f"--int8 is written for OpenVINO alone, not with --to {to}: give --to openvino.")
    if int8 and not given:
        raise ConfigError(
            "--int8 measures the ranges of all layers on layouts of your own, and none were given: add --data DATASET (or "
            "--labels FOLDER)."
        )
    if not int8 and (given or split):
        raise ConfigError(
            "--data and its flags are for --int8, which was not asked for: add --int8, or leave them out."
        )
    if calibrate < 1:
        raise ConfigError(f"--calibrate {calibrate}: at least 1 layout.")


def _calibration(
    model: Path, data: Path | None, flags: DataFlags, split: str, calibrate: int, statistics: str | None
) -> tuple[list[Case], str]:
    """Layouts from all over the data, as the network sees them, and where they are from."""
    import numpy as np

    from gesso.cli.generate import open_layouts
    from gesso.export import calibration_cases
    from gesso.synthesis.synthesizer import load

    synth = load(model, "cpu", statistics, runtime="plain")
    split = split or _training(data)
    found = open_layouts(synth, data, flags, split, None, original_size=False, photographs=False)
    numbers = np.unique(np.linspace(0, len(found) - 1, min(calibrate, len(found))).round().astype(int))
    arrays = list(_arrays(found[int(number)] for number in numbers))
    origin = ", ".join(part for part in (str(data.name) if data else "", split) if part)
    return calibration_cases(synth, arrays), origin


def _training(data: Path | None) -> str:
    """The split "train", where there is one: what is measured later is best left out."""
    from gesso.data import layouts
    from gesso.errors import DataError

    try:
        return "train" if data and "train" in layouts.splits(data) else ""
    except DataError:  # a bare folder, which has no splits
        return ""


def _arrays(items: Iterator[dict[str, Any]]) -> Iterator[tuple[Any, Any]]:
    """Label and instance map, or picture and nothing, as the Synthesizer takes them."""
    from gesso.cli.stylist import maps_of

    for item in items:
        if "source" in item:
            yield ((item["source"].movedim(0, -1) + 1) / 2).numpy(), None
        else:
            yield maps_of(item)


def _said(written: Exported) -> Iterator[str]:
    size = sum(file.stat().st_size for file in written.files) / 2**20
    yield f"{' and '.join(map(str, written.files))}: {size:.1f} MiB"
    yield f"difference from PyTorch {written.parity}"
    if written.cost:
        yield f"int8: difference from PyTorch {written.cost}"
    if written.info.noise:
        yield f"noise {written.info.noise}; photographs are those of --no-noise"
