"""What lies in the folders of a study: which files belong together, and whether they can be shown alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from gesso.errors import ConfigError, DataError
from gesso.study.blinding import read_size
from gesso.study.design import REAL, Protocol

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
PAPER_SIZE = (256, 256)  # of real-or-fake

Files = dict[str, dict[str, Path]]  # method -> scene -> file


def sides(methods: Mapping[str, Path], real: Path | None, protocol: Protocol) -> dict[str, Path]:
    """Name -> folder of all sides, the real photographs last.

    Raises:
        ConfigError: There are too few, or two are one.
    """
    if REAL in methods:
        raise ConfigError(f"{methods[REAL]} would be called {REAL!r}, which is the name of --real: give NAME=FOLDER.")
    folders = {**methods, **({REAL: real} if real else {})}
    if protocol == "real-or-fake" and not (real and methods):
        raise ConfigError("real-or-fake shows a real photograph beside a fake one: give a folder and --real FOLDER.")
    if len(folders) < 2:
        raise ConfigError("A study compares at least two folders: give another one, or --real FOLDER.")
    for (one, a), (other, b) in combinations(folders.items(), 2):
        if a.resolve() == b.resolve():
            raise ConfigError(f"{one} and {other} are the same folder, {a}: there would be nothing to compare.")
    return folders


def collect(folder: Path) -> dict[str, Path]:
    """Scene -> file, of a folder with its subfolders; hidden files are left out.

    Raises:
        DataError: There is no folder, no picture, or two of one name.
    """
    if not folder.is_dir():
        raise DataError(f"The folder {folder} does not exist or is not a folder; check the path.")
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file():
            scene = file.relative_to(folder).with_suffix("").as_posix()
            if scene in found:
                raise DataError(f"{found[scene]} and {file} have the same name: keep one of them.")
            found[scene] = file
    if not found:
        raise DataError(f"{folder} holds no picture. Allowed files: {', '.join(EXTENSIONS)}.")
    return found


def common_names(folders: Mapping[str, Path], files: Files) -> tuple[str, ...]:
    """The scenes, which must be the same in all folders.

    Raises:
        DataError: They are not, or there is one alone.
    """
    every = sorted(set().union(*files.values()))
    for method, found in files.items():
        missing = [scene for scene in every if scene not in found]
        if missing:
            owner = next(name for name, others in files.items() if missing[0] in others)
            raise DataError(
                f"{folders[method]} lacks {len(missing)} of {len(every)} pictures that other folders hold, such as "
                f"{missing[0]} ({files[owner][missing[0]]}). Pictures are paired by name up to the extension: generate the "
                "missing ones, or take the others out."
            )
    if len(every) < 2:
        raise DataError(
            f"There is one picture alone, {every[0]}: a study of one scene says nothing of a method. Give folders of more."
        )
    return tuple(every)


def common_size(
    files: Files, scenes: Sequence[str], protocol: Protocol, chosen: tuple[int, int] | None
) -> tuple[tuple[int, int], list[str]]:
    """The size at which everything is shown, and what is to be said of it.

    Raises:
        DataError: Pictures differ in size and none was chosen, or the shape of one scene differs between folders.
    """
    sizes = {file: read_size(file) for found in files.values() for file in found.values()}
    counts = Counter(sizes.values())
    (height, width), _ = counts.most_common(1)[0]
    wanted = chosen or (PAPER_SIZE if protocol == "real-or-fake" else None)
    if wanted is None and len(counts) > 1:
        odd = next(file for file, size in sizes.items() if size != (height, width))
        raise DataError(
            f"Pictures differ in size: most are {height}x{width}, {odd} is {sizes[odd][0]}x{sizes[odd][1]}. Sizes give a "
            f"method away: say at which size all are shown, such as --size {height}x{width}."
        )
    if chosen is None and wanted and height != width:
        raise DataError(
            f"real-or-fake shows pictures at 256x256, but most are {height}x{width} and would be squashed. Say at which "
            f"size they are shown, such as --size 256x{round(256 * width / height)}."
        )
    for scene in scenes:
        _refuse_shapes([found[scene] for found in files.values()], sizes)
    size = wanted or (height, width)
    kinds = [{sizes[file] for file in found.values()} for found in files.values()]
    if any(kind != kinds[0] for kind in kinds):
        return size, [
            f"Folders differ in size; all are shown at {size[0]}x{size[1]}, but resizing may leave one sharper."
        ]
    return size, []


def _refuse_shapes(paths: Sequence[Path], sizes: Mapping[Path, tuple[int, int]]) -> None:
    first = paths[0]
    for other in paths[1:]:
        ratio = (sizes[first][0] * sizes[other][1]) / (sizes[first][1] * sizes[other][0])
        if not 0.99 < ratio < 1.01:
            shapes = [f"{path} is {sizes[path][0]}x{sizes[path][1]}" for path in (first, other)]
            raise DataError(
                f"{' and '.join(shapes)}: pictures of one scene need the same shape (height by width), or one would be "
                "squashed. Crop them alike first."
            )


def compression(files: Files) -> list[str]:
    """What is to be said where one folder holds other formats than another."""
    kinds = {method: sorted({file.suffix.lower() for file in found.values()}) for method, found in files.items()}
    if len({tuple(kind) for kind in kinds.values()}) == 1:
        return []
    listed = "; ".join(f"{method}: {' '.join(kind)}" for method, kind in kinds.items())
    return [
        f"Folders differ in format ({listed}): marks that JPEG left in pictures stay visible and may tell them apart."
    ]
