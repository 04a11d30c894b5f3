"""Files on disk to samples: which files belong together, and which belong to nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Literal

from gesso.errors import DataError

EXTENSIONS = frozenset(f".{e}" for e in "png jpg jpeg bmp webp tif tiff ppm pgm npy".split())
Half = Literal["", "AtoB", "BtoA"]
Role = Literal["label", "source", "image", "instance"]

_CALLED: dict[Role, str] = {
    "label": "label map",
    "source": "source picture",
    "image": "photograph",
    "instance": "instance map",
}
_ENDINGS: dict[Role, str] = {"label": "_labelIds", "image": "_leftImg8bit", "instance": "_instanceIds"}
_SUFFIX = re.compile(r"_(leftImg8bit|gt(?:Fine|Coarse)_(?:labelIds|instanceIds|color))$")


@dataclass(frozen=True)
class Sample:
    """The files of one training or test example.

    Attributes:
        name: The common stem, unique in its listing.
        image: Photograph, the target; None in layout-only folders such as test sets.
        label: Label map: the input, or, beside a source, what is to be made of it: the map painted in its classes' colours.
        instance: Instance map.
        source: Input picture of a photo-to-photo task, instead of a label map.
        half: For a side-by-side file A|B (then `image` and `source` are that file): which half is the input.
        photo: Where the source is a photograph: whether the input is its "colour", or its "gray" (of A|B: of the target's half).
    """

    name: str
    image: Path | None = None
    label: Path | None = None
    instance: Path | None = None
    source: Path | None = None
    half: Half = ""
    photo: Literal["", "colour", "gray"] = ""

    @property
    def target(self) -> Path | None:
        """What is to be made of the input, if it is there: the photograph, or the label map of one that is the input."""
        return self.label if self.source and self.label else self.image


@dataclass(frozen=True)
class Orphan:
    """A file that belongs to no sample, and what it lacks: a partner of that kind, or a "unique stem"."""

    path: Path
    lacks: str


def image_files(folder: Path) -> list[Path]:
    """Images below a folder, sorted; hidden files and folders are left out, where unfinished ones lie."""
    found: list[tuple[list[str], Path, str]] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        parts, place = parent.split(os.sep), Path(parent)
        found += [
            ([*parts, name], place, name)
            for name in names
            if os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")
        ]
    found.sort(key=itemgetter(0))  # as paths are sorted, in a fraction of the time
    return [place / name for _, place, name in found]


def _only(files: list[Path], ending: str | None) -> list[Path]:
    """Where some stems end like this (`_labelIds`), those files alone: others beside them are something else."""
    return [f for f in files if f.stem.endswith(ending)] or files if ending else files


def _keys(files: list[Path], folder: Path) -> Iterator[str]:
    """Paths below the folder without extension and known suffixes; as text, because there may be a million."""
    whole = os.fspath(folder)
    skipped = 0 if whole == os.curdir else len(whole.rstrip(os.sep)) + 1
    for file in files:
        yield _SUFFIX.sub("", os.path.splitext(os.fspath(file)[skipped:])[0].replace(os.sep, "/"))


def collect(role: Role, folder: Path) -> tuple[dict[str, Path], list[Orphan]]:
    """Stem -> file for one role; a second file with the same stem is an orphan."""
    by_stem: dict[str, Path] = {}
    orphans = []
    files = _only(image_files(folder), _ENDINGS.get(role))
    if role in ("label", "instance"):  # of these a JPEG is never the right one of two
        files.sort(key=lambda file: os.fspath(file).lower().endswith((".jpg", ".jpeg")))
    for key, file in zip(_keys(files, folder), files, strict=True):
        if by_stem.setdefault(key, file) is not file:
            orphans.append(Orphan(file, "unique stem"))
    return by_stem, orphans


def pair(folders: Mapping[Role, Path | None], required: Iterable[Role]) -> tuple[list[Sample], list[Orphan]]:
    """Join the files of several folders by stem.

    A role whose folder is absent or empty is left out for all samples, unless it is required.

    Raises:
        DataError: A required folder is absent or empty, one file would play two roles, or no stem is complete.
    """
    found: dict[Role, dict[str, Path]] = {}
    orphans: list[Orphan] = []
    for role, folder in folders.items():
        by_stem, repeated = collect(role, folder) if folder and folder.is_dir() else ({}, [])
        if not by_stem and role in required:
            state = "holds no image" if folder and folder.is_dir() else "does not exist"
            raise DataError(f"The folder for {_CALLED[role]}s, {folder}, {state}. Allowed files: {extensions()}.")
        orphans += repeated
        if by_stem:
            found[role] = by_stem
    samples = []
    for name in sorted(set().union(*found.values())):
        lacking = [role for role in found if name not in found[role]]
        if lacking:
            file = next(by_stem[name] for by_stem in found.values() if name in by_stem)
            orphans.append(Orphan(file, _CALLED[lacking[0]]))
        else:
            samples.append(_sample(name, {role: by_stem[name] for role, by_stem in found.items()}))
    if not samples:
        _refuse_unpaired(found)
    return samples, sorted(orphans, key=lambda orphan: orphan.path)


def _sample(name: str, files: dict[Role, Path]) -> Sample:
    if len(set(map(os.fspath, files.values()))) < len(files):
        roles = " and ".join(_CALLED[role] for role in files)
        raise DataError(f"{next(iter(files.values()))} would be {roles} at once; give each its own folder.")
    return Sample(name, files.get("image"), files.get("label"), files.get("instance"), files.get("source"))


def _refuse_unpaired(found: dict[Role, dict[str, Path]]) -> None:
    examples = "; ".join(f"{_CALLED[role]}: {', '.join(sorted(stems)[:3])}" for role, stems in found.items())
    raise DataError(
        f"No files have a stem in common. The first stems are: {examples}. Files that belong together need the same "
        "name up to the extension, in the same subfolder."
    )


def extensions() -> str:
    """The file extensions that are read, for messages."""
    return ", ".join(sorted(EXTENSIONS))
