"""What `gesso generate` writes: photographs, layouts in colours, strips and the contact sheet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gesso.cli.kept import KEY, Requests, is_finished
from gesso.cli.style_flags import Shot, StyleFlags
from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.pictures import Picture
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer

SHEET = "contact-sheet.png"
SHEET_ROWS = 16
WIDE, NARROW = 512, 256  # pixels of a picture on a sheet, the latter in a row of many


@dataclass(frozen=True)
class Generated:
    """One photograph, with the sample it was made from (its number and its content), and how."""

    index: int
    item: dict[str, Any]
    shot: Shot
    style: Style | None
    image: Picture


@dataclass
class Output:
    """The folder of results.

    Attributes:
        out: Where it is.
        synth: The model.
        layouts: What photographs are made of.
        shots: The photographs of each layout.
        requests: What is asked of each.
        colour: Whether layouts are written in colours, too.
        overwrite: Whether files that are finished are made again.
    """

    out: Path
    synth: Synthesizer
    layouts: SemanticDataset
    shots: Sequence[Shot]
    requests: Requests
    colour: bool
    overwrite: bool
    _strips: dict[int, list[Picture]] = field(default_factory=dict)  # of layouts whose pictures are not all there yet

    @property
    def _between(self) -> bool:
        return self.shots[0].way is not None

    def _photograph(self, index: int, shot: Shot) -> tuple[Path, str]:
        name = self.layouts.samples[index].name
        return self.out / f"{name}{shot.ending}.png", self.requests(index, shot)

    def _beside(self, index: int, ending: str) -> tuple[Path, str]:
        """A file that goes with all photographs of a layout."""
        asked = "".join(self.requests(index, shot) for shot in self.shots)
        name = self.layouts.samples[index].name
        return self.out / f"{name}{ending}.png", hashlib.sha256(asked.encode()).hexdigest()[:16]

    def is_finished(self, index: int) -> bool:
        """Whether everything of a layout is there, as it is asked for now."""
        if self.overwrite:
            return False
        files = [self._photograph(index, shot) for shot in self.shots]
        files += [self._beside(index, "-layout")] * self.colour + [self._beside(index, "-strip")] * self._between
        return all(is_finished(path, request) for path, request in files)

    def write(self, one: Generated) -> bool:
        """Write a photograph, and what is complete with it; whether the photograph itself was there already."""
        from gesso.pictures import layout_picture

        path, request = self._photograph(one.index, one.shot)
        there = not self.overwrite and is_finished(path, request)
        if not there:
            self._save(path, one.image, {**self.synth.record(one.shot.seed, one.style), KEY: request})
        if self.colour and one.shot is self.shots[0]:
            path, request = self._beside(one.index, "-layout")
            self._save(path, layout_picture(one.item, self.synth.label_space), {KEY: request})
        if self._between:
            row = self._strips.setdefault(one.index, [])
            row.append(one.image)
            if one.shot is self.shots[-1]:
                path, request = self._beside(one.index, "-strip")
                titles = [shot.title for shot in self.shots]
                self._save(path, _page([self._strips.pop(one.index)], titles), {KEY: request})
        return there

    def write_sheet(self) -> None:
        """Write the contact sheet, of files that are all there."""
        import numpy as np
        from PIL import Image

        from gesso.pictures import layout_picture

        rows = []
        for index in sorted(set(np.linspace(0, len(self.layouts) - 1, SHEET_ROWS).round().astype(int).tolist())):
            item = self.layouts[index]
            row = [layout_picture(item, self.synth.label_space)]
            for shot in self.shots:
                with Image.open(self._photograph(index, shot)[0]) as image:
                    row.append(np.asarray(image))
            rows.append(row + (real_of(item) if len(self.shots) == 1 else []))
        titles = ["layout", *(shot.title for shot in self.shots), "real"]
        self._save(self.out / SHEET, _page(rows, titles), {})

    @staticmethod
    def _save(path: Path, image: Picture, record: dict[str, Any]) -> None:
        from gesso.synthesis.synthesizer import save_png

        save_png(path, image, record)


def _page(rows: Sequence[Sequence[Picture]], titles: Sequence[str]) -> Picture:
    import numpy as np

    from gesso.pictures import sheet

    columns = len(rows[0])
    return np.asarray(sheet(rows, titles[:columns], widest=NARROW if columns > 3 else WIDE))


def real_of(item: dict[str, Any]) -> list[Any]:
    """The real photograph, if there is one."""
    from gesso.pictures import to_uint8

    return [to_uint8(item["image"])] if "image" in item else []


def refuse_overwriting(
    out: Path,
    layouts: SemanticDataset,
    shots: Sequence[Shot],
    styles: StyleFlags,
    colour: bool,
    contact_sheet: bool = False,
) -> None:
    """See that no file is lost: none that is read, and none of two that would have one name.

    Raises:
        ConfigError: Naming the file.
    """
    real: dict[
        str, str
    ] = {}  # by folder: asking the disk where every single file is takes minutes for a million of them

    def place(file: str) -> str:
        folder, name = os.path.split(file)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        return f"{real[folder]}{os.sep}{name}"

    files = (os.fspath(file) for s in layouts.samples for file in (s.label, s.source, s.instance, s.image) if file)
    read = (*files, *(os.fspath(file) for file in styles.files))
    inputs = {os.path.realpath(file) if os.path.islink(file) else place(file) for file in read}
    endings = [*(shot.ending for shot in shots), *["-layout"] * colour, *["-strip"] * (shots[0].way is not None)]
    written: set[str] = set()
    paths = (f"{out}{os.sep}{sample.name}{ending}.png" for sample in layouts.samples for ending in endings)
    for path in chain(paths, [os.fspath(out / SHEET)] * contact_sheet):
        file = place(path)
        if file in inputs:
            raise ConfigError(f"--out {out} would overwrite {path}, which is read: give another folder.")
        if file in written:
            other = ", or leave out --contact-sheet" if path == os.fspath(out / SHEET) else ""
            raise ConfigError(f"Two pictures would be {path}: rename one of the layouts that lead to this name{other}.")
        written.add(file)


def refuse_out_among(layouts: SemanticDataset, out: Path) -> None:
    """See that photographs do not come to lie where layouts are looked for: the next run would take them for layouts.

    Args:
        layouts: Of folders, which are read with their subfolders.
        out: Where photographs are to be written.

    Raises:
        ConfigError: Naming both.
    """
    files = (
        (os.path.join(".", file), s.name.count("/")) for s in layouts.samples for file in (s.label, s.source) if file
    )
    target = os.path.join(os.path.realpath(out), "")
    for folder in dict.fromkeys(file.rsplit(os.sep, 1 + depth)[0] for file, depth in files):
        if target.startswith(os.path.join(os.path.realpath(folder), "")):
            raise ConfigError(
                f"--out {out} lies in {folder}, which is read with its subfolders: what is written there would overwrite layouts "
                "or be taken for layouts by the next run. Give a folder outside of it."
            )
