"""One label map: read as training reads it, and explained where it has no meaning or a doubtful one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gesso.data.doctor.files import Counts, Finding, Header, ScannedFile, UnknownValue, read_header, without_path
from gesso.data.readers import Values, read_label, read_values
from gesso.errors import LabelError
from gesso.labels import LabelSpace

MASK_VALUES = ({0, 255}, {0, 65535})
INT16_LARGEST = 32767
_LISTED = 5  # unknown values spelled out in one message


def scan_label(path: Path, space: LabelSpace | None) -> ScannedFile:
    """Read a label map, count its classes, and say what is wrong with it.

    Raises:
        DataError: The file is missing, damaged or not a picture.
    """
    if space is None:
        return _valueless(path)
    try:
        indices = read_label(path, space)
    except LabelError as error:
        return _misread(path, space, error)
    file = ScannedFile(path, indices.shape, read_header(path), pixels=_histogram(indices, len(space)))
    return _suspicious(file, indices, space)


def _histogram(indices: Values, classes: int) -> Counts:
    return np.bincount(indices.ravel(), minlength=classes + 1)


def _valueless(path: Path) -> ScannedFile:
    """A label map while no label space is known: only whether it can be one."""
    try:
        return ScannedFile(path, read_values(path).shape, read_header(path))
    except LabelError as error:
        return ScannedFile(path, finding=_not_values(path, read_header(path), error))


def _not_values(path: Path, header: Header, error: LabelError) -> Finding:
    code = "colour-coded" if header.mode in ("RGB", "RGBA") else "not-a-map"
    return Finding("error", "lossy-map" if header.format in ("JPEG", "MPO") else code, path, without_path(error, path))


def _misread(path: Path, space: LabelSpace, error: LabelError) -> ScannedFile:
    """A label map that its space gives no meaning: find out why."""
    header = read_header(path)
    try:
        values = read_values(path)
    except LabelError:
        return ScannedFile(path, header=header, finding=_not_values(path, header, error))
    indices = space.lookup(values)
    unknown = _unknown_values(path, values, indices < 0)
    if not unknown:
        return ScannedFile(path, header=header, finding=_not_values(path, header, error))
    code, message = _why_unknown(unknown, set(np.unique(values).tolist()), space)
    if header.mode == "P":
        message += " It is a palette image, whose colours are not those of the space either."
    pixels = _histogram(indices[indices >= 0], len(space)) if code == "unknown-id" else None
    return ScannedFile(
        path, header=header, finding=Finding("error", code, path, message), pixels=pixels, unknown=unknown
    )


def _unknown_values(path: Path, values: Values, where: npt.NDArray[np.bool_]) -> tuple[UnknownValue, ...]:
    places = np.flatnonzero(where)
    found, first, counts = np.unique(values.ravel()[places], return_index=True, return_counts=True)
    spots = [divmod(int(place), values.shape[1]) for place in places[first]]
    return tuple(
        UnknownValue(int(value), int(count), 1, path, row, column)
        for value, count, (row, column) in zip(found, counts, spots, strict=True)
    )


def _why_unknown(unknown: tuple[UnknownValue, ...], values: set[int], space: LabelSpace) -> tuple[str, str]:
    """Code and message for a map with unknown values."""
    first = min(unknown, key=lambda u: (u.row, u.column))
    where = f"the first is at row {first.row}, column {first.column}"
    if values in MASK_VALUES:
        return "binary-mask", (
            f"holds only {_and(sorted(values))}, as a mask does, but {space.name} gives {_and([u.value for u in unknown])} "
            f"no meaning; {where}. Save class values instead, or use a space of two classes with values 0 and 1."
        )
    most = sorted(unknown, key=lambda u: -u.pixels)
    listed = [f"{u.value} ({_count(u.pixels, 'pixel')})" for u in most[:_LISTED]]
    more = [f"{len(most) - _LISTED} values more"] if len(most) > _LISTED else []
    start = f"holds {_and(listed + more)}, which {space.name} does not know; {where}."
    if max(u.value for u in unknown) > INT16_LARGEST:
        return "wide-ids", f"{start} {_about_wide_ids(unknown)}"
    return "unknown-id", f"{start} Mend these pixels, or add the value to `values` or `ignore` of the label space."


def _about_wide_ids(unknown: tuple[UnknownValue, ...]) -> str:
    if all(u.value % 257 == 0 for u in unknown):
        return "These are 8-bit values stretched to 16 bits: divide them by 257."
    return f"Ids beyond {INT16_LARGEST} are instances rather than classes: give the label map, not the instance map."


def _and(items: list[Any]) -> str:
    """'1', '1 and 2', '1, 2 and 3'."""
    words = [str(item) for item in items]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _suspicious(file: ScannedFile, indices: Values, space: LabelSpace) -> ScannedFile:
    """A label map that can be read, with a finding where it may not mean what was intended."""
    assert file.pixels is not None
    if not file.pixels[: len(space)].any():
        message = f"is ignored everywhere: every pixel is void in {space.name}. Leave it out, or restore its classes."
        return replace(file, finding=Finding("warning", "all-void", file.path, message))
    if file.header.mode in ("P", "PA", "RGB", "RGBA"):
        return _by_colours(file, indices, space)
    return _mask_of_one_class(file, space)


def _by_colours(file: ScannedFile, indices: Values, space: LabelSpace) -> ScannedFile:
    """Whether a palette or RGB map was decoded by the colours of the space instead of by its values."""
    try:
        values = read_values(file.path)
        coded = not bool((space.lookup(values) == indices).all()) and set(np.unique(values).tolist()) != {0, 255}
    except LabelError:
        coded = True
    decoding = ("colours" if coded else "positions") if file.header.mode in ("P", "PA") else ""
    message = f"is colour-coded; all its colours belong to {space.name}, so it is read exactly."
    finding = Finding("warning", "colour-coded", file.path, message) if coded else None
    return replace(file, decoding=decoding, finding=finding)


def _mask_of_one_class(file: ScannedFile, space: LabelSpace) -> ScannedFile:
    """0 and 255 alone, where 255 is ignored: one class is left."""
    assert file.pixels is not None
    zero, full = space.lookup(np.array([0, 255]))
    if full == len(space) and 0 <= zero < len(space) and set(np.flatnonzero(file.pixels)) == {zero, full}:
        values = set(np.unique(read_values(file.path)).tolist())
        if values == {0, 255}:
            message = f"holds only 0 ({space.names[zero]}) and 255 (ignored); if it is a mask, its object is lost."
            return replace(file, finding=Finding("note", "binary-mask", file.path, message))
    return file
