"""`gesso edges`."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from gesso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gesso.labels import ByteArray


def edges(
    photos: Path,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("edges"),
    sigma: float = 1.4,
    low: float = 0.04,
    high: float = 0.1,
    invert: bool = False,
    resize: str | None = None,
    photographs: Path | None = None,
) -> None:
    """Draw the edges of photographs, to learn photographs from edges.

    Parameters
    ----------
    photos: Path
        Folder of photographs, read with its subfolders.
    out: Path
        Folder for the edge maps, one PNG per photograph, of the same name.
    sigma: float
        Smoothing before edges are looked for, in pixels; more leaves fine texture out.
    low: float
        Contrast at which a line ends, 0 to 1 (black against white).
    high: float
        Contrast that a line must reach somewhere; more leaves faint lines out.
    invert: bool
        Black lines on white, as drawings are, instead of white on black.
    resize: str
        HEIGHTxWIDTH in pixels: bring the photographs to this size first, so that lines are one pixel wide there.
    photographs: Path
        Also write the photographs as they were looked at, upright and resized, to this folder, to train on with the edge maps.
    """
    from gesso.cli.common import parse_size, track
    from gesso.data.edges import edge_picture, find_edges

    console = Console()
    size = parse_size(resize) if resize else None
    files = _photographs(photos, console)
    _refuse_overlap(files, [photos, out, *([photographs] if photographs else [])])
    drawn, empty = 0.0, 0
    for name, file in track(files.items(), "drawing edges", len(files), console):
        photograph = _read(file, size)
        lines = find_edges(photograph, sigma=sigma, low=low, high=high)
        drawn, empty = drawn + float(lines.mean()), empty + (not lines.any())
        _save(out / f"{name}.png", edge_picture(lines, invert=invert))
        if photographs:
            _save(photographs / f"{name}.png", photograph)
    if empty == len(files):
        raise DataError(
            f"All {empty} edge maps in {out} are empty: there is nothing to learn from them. Either {photos} holds no "
            f"photographs (label maps look almost black), or --high {high:g} and --low {low:g} are too high: lower them."
        )
    console.print(f"{len(files)} edge maps in {out}; lines cover {drawn / len(files):.1%} of them.", soft_wrap=True)
    if empty:
        console.print(f"{empty} of them are empty: lower --high and --low for fainter lines.", soft_wrap=True)
    if photographs or not resize:
        words = ["gesso", "train", "--sources", str(out), "--images", str(photographs or photos), "--out", "run"]
        console.print("Train with:", style="bold")
        console.print(f"  {shlex.join(words)}", soft_wrap=True, markup=False, highlight=False)


def _photographs(folder: Path, console: Console) -> dict[str, Path]:
    """Name -> file, as training pairs them.

    Raises:
        DataError: There are none, or the folder holds label maps beside them.
    """
    from gesso.data.pairing import collect, extensions

    if not folder.is_dir():
        raise DataError(f"The folder of photographs {folder} does not exist or is not a folder; check the path.")
    _refuse_dataset(folder)
    files, repeated = collect("image", folder)
    if not files:
        raise DataError(f"{folder} holds no photograph. Allowed files: {extensions()}.")
    if repeated:
        listed = ", ".join(str(orphan.path) for orphan in repeated[:3])
        console.print(
            f"Left out, as another file has the same name: {len(repeated)} files, such as {listed}.", soft_wrap=True
        )
    return files


def _refuse_dataset(folder: Path) -> None:
    """Label maps are no photographs: their edges would be learnt from unnoticed."""
    from gesso.data import layouts

    try:
        listing = layouts.find(folder, layouts.splits(folder)[0])
    except DataError:
        return
    first = listing.samples[0]
    if first.image and not first.half:
        raise DataError(
            f"{folder} is a dataset ({listing.convention}), not a folder of photographs; give the folder of its "
            f"photographs, such as {first.image.parent}."
        )


def _refuse_overlap(files: dict[str, Path], folders: list[Path]) -> None:
    """Neither overwrite what is read, nor mix photographs and edge maps in one folder.

    Raises:
        ConfigError: Two of the folders are one, or one contains another; or a photograph is a link to what would be written.
    """
    for one, other in itertools.permutations(folders, 2):
        if one.resolve().is_relative_to(other.resolve()):
            raise ConfigError(
                f"{one} lies in {other}: photographs and edge maps need folders apart. Give another --out or --photographs."
            )
    inputs = {file.resolve() for file in files.values()}
    for path in (folder / f"{name}.png" for folder in folders[1:] for name in files):
        if path.resolve() in inputs:
            raise ConfigError(f"{path} would overwrite a photograph that is read: give another folder.")


def _read(file: Path, size: tuple[int, int] | None) -> ByteArray:
    """A photograph (H, W, 3), upright, resized as training would."""
    from gesso.data.preprocessing import Preprocessing, apply_photograph
    from gesso.data.readers import read_photograph

    photograph = read_photograph(file)
    if size is None:
        return photograph
    fixed = Preprocessing(resize="fixed", height=size[0], width=size[1])
    return apply_photograph(photograph, fixed.plan(photograph.shape[:2]))


def _save(path: Path, picture: ByteArray) -> None:
    """Write a PNG whole or not at all."""
    from PIL import Image

    from gesso.checkpoints import write_safely

    write_safely(path, lambda temporary: Image.fromarray(picture).save(temporary, "PNG"))
