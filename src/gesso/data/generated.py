"""Datasets of generated photographs: what lies in their folders, and the manifest that says where each photograph is from.

    OUT/labels.json                       the label space
    OUT/SPLIT/images/NAME.png             photographs
    OUT/SPLIT/labels/NAME.png             label maps: file values of the label space
    OUT/SPLIT/instances/NAME.png          instance maps: 16 bits, ids
    OUT/SPLIT/manifest.jsonl              one line of JSON per photograph, written when all are there
    OUT/SPLIT/generation.json             what was asked for

It is the folder convention "camvid", so that whatever reads that reads this.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gesso.errors import DataError, LabelError
from gesso.labels import IntArray, LabelSpace

MANIFEST, GENERATION, LABELS = "manifest.jsonl", "generation.json", "labels.json"
FOLDERS = ("images", "labels", "instances")
BYTE, WORD = 2**8, 2**16  # values that 8 and 16 bits hold


class PastedObject(BaseModel):
    """An object that was copied from another layout.

    Attributes:
        object: Class and id of it here: "car:9004".
        source: Name of the layout that it is from.
        layout: SHA-256 of the file of that layout's label map, 32 hexadecimal digits.
        source_object: Class and id of it there.
        at: (x, y) of its foot in pixels, before any warp and flip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    object: str
    source: str
    layout: str
    source_object: str
    at: tuple[int, int]


class Augmentations(BaseModel):
    """What was done to a layout, in this order.

    Attributes:
        removed: Objects that were taken out: "car:9001".
        pasted: Objects that were put in.
        warp: Strength of the bend, 0..1; 0 where it stayed straight.
        flip: Whether left and right were exchanged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    removed: tuple[str, ...] = ()
    pasted: tuple[PastedObject, ...] = ()
    warp: float = 0.0
    flip: bool = False


class Made(BaseModel):
    """One line of a manifest: a generated photograph, and where it is from.

    Attributes:
        file: The photograph, relative to the manifest; label and instance map have the same name in their own folders.
        source: Name of the layout that it is of.
        split: Part of the dataset that the layout is from; empty for bare folders.
        layout: SHA-256 of the file of the layout's label map, 32 hexadecimal digits.
        variant: Which of the photographs of that layout, from 0.
        seed: Of what the layout and the style leave open, as `gesso generate --seed` takes it.
        style: What was chosen of the style; None where nothing was.
        augmentations: What was done to the layout.
        digests: The same of the files of the label map and the instance map that were written, so that maps which do not belong
            to the photograph are noticed.
        renumbered: Whether the instance map has other ids than the photograph was made with, as those do not fit into 16 bits.
        size: (height, width) in pixels.
        model: Hash of the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    source: str
    split: str
    layout: str
    variant: int = Field(ge=0)
    seed: int = Field(ge=0)
    style: dict[str, Any] | None = None
    augmentations: Augmentations = Augmentations()
    digests: tuple[str, str]
    renumbered: bool = False
    size: tuple[int, int]
    model: str

    @property
    def maps(self) -> tuple[str, str]:
        """Label and instance map, relative to the manifest."""
        _, name = self.file.split("/", 1)
        return f"labels/{name}", f"instances/{name}"

    @property
    def layouts(self) -> dict[str, str]:
        """Names of all layouts that it has something of, by the digests of their label maps."""
        return {self.layout: self.source, **{one.layout: one.source for one in self.augmentations.pasted}}

    def fits(self, folder: Path) -> bool:
        """Whether the maps in OUT/SPLIT are those that were written with the photograph."""
        return tuple(file_digest(folder / file) for file in self.maps) == self.digests


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, 32 hexadecimal digits; nothing of one that is not there."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:32] if file.is_file() else ""


def read_manifest(folder: Path) -> list[Made]:
    """The manifest of a split of a generated dataset, checked against the files.

    Args:
        folder: OUT/SPLIT.

    Raises:
        DataError: There is none, it is not understood, files are missing or left over, or maps belong to other photographs.
    """
    path = folder / MANIFEST
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(_without(folder)) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. Make the dataset again.") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Made.model_validate_json(line))
        except ValidationError as error:
            raise DataError(
                f"{path}, line {number}, is no line of a manifest that this gesso reads: {error.errors()[0]['msg']}. Make the "
                "dataset again with gesso generate --dataset."
            ) from None
    _refuse_differences(folder, found)
    if strange := next((one for one in found if not one.fits(folder)), None):
        raise DataError(
            f"{folder / strange.maps[0]} or {folder / strange.maps[1]} is not the map that {strange.file} was made of: it was "
            "changed afterwards. Run the same gesso generate --dataset again, it makes what does not fit."
        )
    return found


def _without(folder: Path) -> str:
    if (folder / GENERATION).is_file():
        return (
            f"{folder} is a generated dataset without {MANIFEST}, which is written when all photographs are there: run the same "
            "gesso generate --dataset again, it makes what is missing."
        )
    return f"{folder} has no {MANIFEST}: it was not written by gesso generate --dataset. Name a dataset that was."


def _refuse_differences(folder: Path, made: list[Made]) -> None:
    listed = {file for one in made for file in (one.file, *one.maps)}
    there = files_of(folder)
    for files, what in ((listed - there, "lists"), (there - listed, "does not list")):
        if files:
            absent = " and are not there" if what == "lists" else ""
            raise DataError(
                f"{folder / MANIFEST} {what} files of the dataset{absent}: {min(files)} and {len(files) - 1} more. Run the same "
                "gesso generate --dataset again, or remove what does not belong to it."
            )


def files_of(folder: Path) -> set[str]:
    """The PNGs of a split of a generated dataset, relative to it; hidden ones, which are not finished, left out."""
    found = set()
    for kind in FOLDERS:
        for path in (folder / kind).rglob("*.png"):
            inside = path.relative_to(folder)
            if not any(part.startswith(".") for part in inside.parts) and path.is_file():
                found.add(inside.as_posix())
    return found


def manifest_text(made: list[Made]) -> str:
    """The lines of a manifest."""
    return "".join(json.dumps(one.model_dump(mode="json"), ensure_ascii=False) + "\n" for one in made)


# --------------------------------------------------------------------------------------------------------- maps as files


def writable(space: LabelSpace) -> LabelSpace:
    """A label space each of whose classes, and what is ignored, has a value that a PNG of 8 or 16 bits can hold.

    It is the same space but where one has none (the licence plate of Cityscapes is -1): that gets the first free one.
    """
    used = {v for c in space.classes for v in c.values} | set(space.ignore)
    free = (value for value in range(WORD) if value not in used)
    classes = tuple(
        c if any(0 <= v < WORD for v in c.values) else c.model_copy(update={"values": (*c.values, next(free))})
        for c in space.classes
    )
    ignore = space.ignore
    if ignore and not any(0 <= v < WORD for v in ignore):
        ignore = (*ignore, next(free))
    return (
        space
        if (classes, ignore) == (space.classes, space.ignore)
        else space.model_copy(update={"classes": classes, "ignore": ignore})
    )


def label_file(label: IntArray, space: LabelSpace) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """(H, W) class indices, `len(space)` where ignored, as the values of a file: 8 bits where all classes fit, else 16.

    Args:
        label: Of the space; where that ignores no value, no pixel is ignored.
        space: From `writable`.
    """
    kinds = [*(c.values for c in space.classes), *([space.ignore] if space.ignore else [])]
    values = [min((v for v in kind if 0 <= v < WORD), key=lambda v: (v >= BYTE, kind.index(v))) for kind in kinds]
    if max(values) < BYTE:
        return np.array(values, dtype=np.uint8)[label]
    return np.array(values, dtype=np.uint16)[label]


def instance_file(instance: IntArray) -> tuple[npt.NDArray[np.uint16], bool]:
    """(H, W) ids as 16 bits, and whether they had to be numbered anew, 1 and on in the order of the ids.

    Raises:
        LabelError: There are more objects than numbers.
    """
    if instance.min() >= 0 and instance.max() < WORD:
        return instance.astype(np.uint16), False
    ids, places = np.unique(instance, return_inverse=True)
    if len(ids) >= WORD:
        raise LabelError(f"{len(ids)} objects in one layout: an instance map of 16 bits holds {WORD - 1}.")
    return (places.reshape(instance.shape) + 1).astype(np.uint16), True
