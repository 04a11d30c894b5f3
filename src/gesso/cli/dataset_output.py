"""The folder that `gesso generate --dataset` fills: what is there already, what is refused, the files, the manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gesso.cli.dataset_layouts import Task, Variations
from gesso.cli.dataset_sheet import SHEET_OF
from gesso.cli.generated import SHEET
from gesso.cli.kept import KEY, Requests, is_finished
from gesso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gesso.data.generated import Augmentations, Made
    from gesso.labels import LabelSpace
    from gesso.pictures import Picture
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer

SAMPLE = "sample"  # in the record of a PNG: its line of the manifest


@dataclass(frozen=True)
class Sample:
    """One photograph of a generated dataset with its maps.

    Attributes:
        item: The layout as it was changed, with `label` and `instance`.
        done: What was done to it.
        style: What was chosen of the style.
        image: The photograph.
    """

    item: dict[str, Any]
    done: Augmentations
    style: Style | None
    image: Picture


class DatasetRequests(Requests):
    """What is asked of each photograph: also over the layouts that objects are pasted from."""

    def of(self, task: Task) -> str:
        """16 hexadecimal digits.

        Raises:
            OSError: A file of a layout cannot be read.
        """
        donors = [[self._files(donor) for donor in some] for some in task.donors]
        text = json.dumps([self.common, self._files(task.index), task.seed, task.variant, donors])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def layout(self, index: int) -> str:
        """Digest of the file of a label map."""
        return str(json.loads(self._files(index))[0]["label"])


class DatasetOutput:
    """OUT/SPLIT of a generated dataset.

    Args:
        out: The dataset.
        split: Part of the data that the layouts are from; empty for bare folders, whose photographs are called train.
        synth: The model.
        variations: What photographs are made of.
        requests: What is asked of each.
        total: Photographs in all.
        overwrite: Whether what an earlier run wrote is made again.
    """

    def __init__(
        self,
        out: Path,
        split: str,
        synth: Synthesizer,
        variations: Variations,
        requests: DatasetRequests,
        total: int,
        overwrite: bool,
    ) -> None:
        from gesso.data.generated import writable

        assert synth.label_space is not None
        self.folder = out / (split or "train")
        self.total = total
        self._out, self._split, self._overwrite = out, split, overwrite
        self._synth, self._variations, self._requests = synth, variations, requests
        self._space: LabelSpace = writable(synth.label_space)

    @property
    def asked(self) -> dict[str, Any]:
        """What decides what the photographs are, but for the layouts and how many of them there are."""
        common = json.loads(self._requests.common)
        model = common["record"].pop("model")
        return {"model": model, **common.pop("dataset"), **common}

    # ------------------------------------------------------------------------------------------------------- beforehand

    def prepare(self) -> None:
        """See that nothing foreign is touched, and write what says what is asked for. One process does that for all.

        Raises:
            ConfigError: There is something else, or a dataset of other settings or layouts.
            TrainingError: The disk is full or refuses.
        """
        from gesso.checkpoints import write_safely
        from gesso.data.generated import GENERATION, LABELS

        self._refuse_foreign()
        self._refuse_foreign_sheet()
        there = self._there()
        if there is not None and self._overwrite:
            self._clear()
        elif there is not None:
            self._refuse_others(there)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self._out / LABELS).exists():
            write_safely(self._out / LABELS, self._space.save)
        if there is None or self._overwrite:
            text = json.dumps(self.asked, indent=1, sort_keys=True) + "\n"
            write_safely(self.folder / GENERATION, lambda path: _write(path, text))

    def _refuse_foreign(self) -> None:
        from gesso.data.generated import GENERATION, LABELS
        from gesso.labels import LabelSpace

        if self._out.exists() and not self._out.is_dir():
            raise ConfigError(f"--dataset {self._out} is a file: name a folder.")
        if (
            self.folder.exists()
            and not all(map(_is_unfinished, self.folder.iterdir()))
            and not (self.folder / GENERATION).is_file()
        ):
            raise ConfigError(
                f"{self.folder} holds something that gesso generate --dataset did not write, and leaves alone: name "
                "another folder."
            )
        if (self._out / LABELS).exists() and LabelSpace.load(self._out / LABELS) != self._space:
            raise ConfigError(
                f"{self._out / LABELS} is another label space than the model's ({self._space.name}): name another folder."
            )

    def _refuse_foreign_sheet(self) -> None:
        """A contact sheet would be replaced: it has to be one that was written here."""
        from gesso.errors import StyleError
        from gesso.synthesis.synthesizer import read_record

        sheet = self.folder / SHEET
        try:
            ours = not sheet.exists() or SHEET_OF in (read_record(sheet) or {})
        except (OSError, ValueError, SyntaxError, StyleError):
            ours = False
        if not ours:
            raise ConfigError(
                f"{sheet} was not written by gesso generate --dataset: move it away, or name another folder."
            )

    def _there(self) -> dict[str, Any] | None:
        """What an earlier run was asked for; empty where that cannot be read."""
        from gesso.data.generated import GENERATION

        try:
            found = json.loads((self.folder / GENERATION).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _refuse_others(self, there: dict[str, Any]) -> None:
        """What lies there has to be a beginning of what is asked for now."""
        from gesso.data.generated import files_of

        asked = json.loads(json.dumps(self.asked))
        if told := "; ".join(_differences(there, asked)[:4]):
            raise ConfigError(
                f"{self.folder} is a dataset that was made in another way ({told}). Give another folder, or --overwrite to "
                "make all of it again."
            )
        tasks = map(self._variations.task, range(self.total))
        wanted = {
            file for task in tasks for file in (path.relative_to(self.folder).as_posix() for path in self._files(task))
        }
        if extra := files_of(self.folder) - wanted:
            raise ConfigError(
                f"{self.folder} holds {len(extra)} files that are not of these layouts, such as {min(extra)}. Give the layouts "
                "that it was made of and no smaller --limit, another folder, or --overwrite to make all of it again."
            )

    def _clear(self) -> None:
        """Remove what an earlier run wrote, but for what says that the folder is gesso's: that is replaced."""
        from gesso.data.generated import FOLDERS, MANIFEST

        for name in (MANIFEST, SHEET):
            (self.folder / name).unlink(missing_ok=True)
        for kind in FOLDERS:
            shutil.rmtree(self.folder / kind, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------------------ files

    def _files(self, task: Task) -> tuple[Path, Path, Path]:
        """Photograph, label map and instance map."""
        from gesso.data.generated import FOLDERS

        image, label, instance = (self.folder / kind / f"{task.name}.png" for kind in FOLDERS)
        return image, label, instance

    def is_finished(self, task: Task) -> bool:
        """Whether a photograph is there as it is asked for, with the maps that were written with it."""
        if not is_finished(self._files(task)[0], self._requests.of(task)):
            return False
        try:
            return self._line(task).fits(self.folder)
        except (OSError, DataError):
            return False

    def write(self, task: Task, sample: Sample) -> None:
        """Write the maps, then the photograph, which says that the maps are there.

        Raises:
            TrainingError: The disk is full or refuses.
            LabelError: There are more objects than an instance map holds.
        """
        from gesso.data.generated import MANIFEST, Made, file_digest, instance_file, label_file
        from gesso.synthesis.synthesizer import save_png

        image, label, instance = self._files(task)
        ids, renumbered = instance_file(sample.item["instance"].numpy())
        record = self._synth.record(task.seed, sample.style)
        (self.folder / MANIFEST).unlink(missing_ok=True)  # it is of what was there before
        image.unlink(missing_ok=True)  # no moment at which the photograph of other maps lies beside these
        _save_map(label, label_file(sample.item["label"].numpy(), self._space))
        _save_map(instance, ids)
        made = Made(
            file=image.relative_to(self.folder).as_posix(),
            source=self._variations.layouts.samples[task.index].name,
            split=self._split,
            layout=self._requests.layout(task.index),
            variant=task.variant,
            seed=task.seed,
            style=record["style"],
            augmentations=sample.done,
            digests=(file_digest(label), file_digest(instance)),
            renumbered=renumbered,
            size=(sample.image.shape[0], sample.image.shape[1]),
            model=record["model"],
        )
        asked = {KEY: self._requests.of(task), SAMPLE: made.model_dump(mode="json")}
        save_png(image, sample.image, {**record, **asked})

    def shown(self, count: int) -> Iterator[tuple[Made, Path]]:
        """Lines of the manifest from all over it, each with the file of its photograph."""
        for number in sorted({round(n * (self.total - 1) / max(1, count - 1)) for n in range(count)}):
            task = self._variations.task(number)
            yield self._line(task), self._files(task)[0]

    def write_manifest(self) -> None:
        """Write the manifest, of photographs that are all there, each of which carries its line.

        Raises:
            TrainingError: The disk is full or refuses.
            DataError: A photograph was changed meanwhile.
        """
        from gesso.checkpoints import write_safely
        from gesso.data.generated import MANIFEST, manifest_text

        text = manifest_text([self._line(self._variations.task(number)) for number in range(self.total)])
        path = self.folder / MANIFEST
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_safely(path, lambda temporary: _write(temporary, text))

    def _line(self, task: Task) -> Made:
        from gesso.data.generated import Made
        from gesso.synthesis.synthesizer import read_record

        image = self._files(task)[0]
        try:
            return Made.model_validate((read_record(image) or {})[SAMPLE])
        except (OSError, ValueError, KeyError):
            but = " without --overwrite" * self._overwrite
            raise DataError(
                f"{image} was changed while the dataset was made: run the same command again{but}."
            ) from None


def _save_map(path: Path, values: Any) -> None:
    from PIL import Image

    from gesso.checkpoints import write_safely

    write_safely(path, lambda temporary: Image.fromarray(values).save(temporary, "PNG", compress_level=6))


def _is_unfinished(path: Path) -> bool:
    """Whether it is what a kill leaves of a file that was being written."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _differences(there: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """What differs between two settings, in words."""
    old, new = _leaves(there), _leaves(asked)
    told = []
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key) or (key in old) != (key in new):
            before, now = _short(old.get(key)), _short(new.get(key))
            told.append(f"{key}: {before} there, {now} now" if before != now else key)
    return told


def _leaves(value: object, name: str = "") -> dict[str, object]:
    """The plain values inside of one, by where they stand: "space.classes.3.name"."""
    if not isinstance(value, dict | list) or not value:
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for key, one in items for k, v in _leaves(one, f"{name}.{key}" if name else str(key)).items()}


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}..."


def refuse_among(out: Path, files: Sequence[Path]) -> None:
    """See that nothing that is read lies where files are written.

    Raises:
        ConfigError: Naming one.
    """
    place = os.path.join(os.path.realpath(out), "")
    for file in files:
        if os.path.realpath(file).startswith(place):
            raise ConfigError(f"--dataset {out} holds {file}, which is read: name a folder outside of the data.")
