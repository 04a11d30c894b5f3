"""Edits as text and as data, and what they make of a layout."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from scipy import ndimage

from gesso.errors import ConfigError, LabelError
from gesso.synthesis.editing import (
    Layout,
    Mask,
    ObjectKey,
    move_object,
    paste_object,
    relabel_object,
    remove_object,
)
from gesso.synthesis.retouching.naming import find_objects
from gesso.synthesis.retouching.sizes import Size
from gesso.synthesis.style import Vector

Looks = int | Vector | str  # the number of a mode, a vector, or a file
_EXACT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Remove(BaseModel):
    """Take an object away, or everything of a class; what is behind or around it takes its place."""

    model_config = _EXACT
    remove: str


class Move(BaseModel):
    """Move an object by so many pixels of the photograph to the right and down, and perhaps scale it about its foot."""

    model_config = _EXACT
    move: str
    by: tuple[float, float] = (0, 0)
    scale: float = Field(1.0, gt=0)


class Paste(BaseModel):
    """Put a copy of an object in front of all, so many pixels of the photograph beside it; it looks like the object."""

    model_config = _EXACT
    paste: str
    by: tuple[float, float] = (0, 0)
    scale: float = Field(1.0, gt=0)


class Relabel(BaseModel):
    """Make an object, or everything of a class, one of another class."""

    model_config = _EXACT
    relabel: str
    to: str


class Restyle(BaseModel):
    """Let an object, or everything of a class, look otherwise: by a mode, by a vector, or as a file has its class."""

    model_config = _EXACT
    restyle: str
    to: Looks


Edit = Remove | Move | Paste | Relabel | Restyle
Kind = Literal["remove", "move", "paste", "relabel", "restyle"]
_EDITS: TypeAdapter[tuple[Edit, ...]] = TypeAdapter(tuple[Edit, ...])
FORMS = (
    '[{"remove": "car:3"}, {"move": "car:1", "by": [40, 0], "scale": 1.2}, {"paste": "car:1", "by": [-80, 5]}, '
    '{"relabel": "tree", "to": "building"}, {"restyle": "road", "to": 2}]'
)


@dataclass(frozen=True)
class Edited:
    """A layout after edits, and what its objects are to look like.

    Attributes:
        layout: With the edits.
        copies: Objects that look like others: copy -> original.
        looks: For each class (name) or object, in order: what it is to look like.
    """

    layout: Layout
    copies: Mapping[ObjectKey, ObjectKey] = field(default_factory=dict)
    looks: tuple[tuple[str | ObjectKey, Looks], ...] = ()


# ---------------------------------------------------------------------------------------------------------------- reading


def parse_edits(document: Any, origin: str = "edits") -> tuple[Edit, ...]:
    """Edits of JSON content, or of mappings.

    Raises:
        ConfigError: They are not understood; the message names the first that is not.
    """
    if not isinstance(document, Sequence) or isinstance(document, str) or not document:
        raise ConfigError(f"The {origin} hold no list of edits. Write for instance {FORMS}.")
    found = []
    for number, one in enumerate(document, start=1):
        if isinstance(one, Edit):
            found.append(one)
            continue
        try:
            found += _EDITS.validate_python([one])
        except ValidationError:
            raise ConfigError(
                f"Edit {number} of the {origin} is not understood: {_short(one)}. Write for instance {FORMS}."
            ) from None
    return tuple(found)


def load_edits(path: Path) -> tuple[Edit, ...]:
    """Edits from a JSON file.

    Raises:
        ConfigError: It is missing, no JSON, or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the edits {path}: {error.strerror}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}). Write for instance {FORMS}.") from None
    return parse_edits(document, f"edits in {path}")


def parse_edit(kind: Kind, text: str) -> Edit:
    """One edit as the command line has it: remove car:3, move car:3=DX,DY[,SCALE], relabel car:3=bus, restyle road=2.

    Raises:
        ConfigError: The text is of another form.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if kind == "remove" and name and not equals:
        return Remove(remove=name)
    if (
        kind in ("move", "paste")
        and name
        and 2 <= len(numbers := _numbers(value)) <= 3
        and ([1.0, *numbers][-1] > 0 or len(numbers) < 3)
    ):
        placed: dict[str, Any] = {"by": numbers[:2], "scale": [*numbers, 1.0][2]}
        return Move(move=name, **placed) if kind == "move" else Paste(paste=name, **placed)
    if kind == "relabel" and name and value:
        return Relabel(relabel=name, to=value)
    if kind == "restyle" and name and value:
        return Restyle(restyle=name, to=_looks(value))
    forms = {
        "remove": "car:3, or car for all of them",
        "move": "car:3=DX,DY or car:3=DX,DY,SCALE in pixels of the photograph, such as car:3=-40,0,1.2",
        "paste": "car:3=DX,DY or car:3=DX,DY,SCALE in pixels of the photograph, such as car:3=60,0",
        "relabel": "car:3=bus, or tree=building for everything of a class",
        "restyle": "road=2 (a mode), road=0.1,-0.3,0.5 (a vector), or road=FILE (a style, or a picture that gesso generated)",
    }
    raise ConfigError(f"--{kind} {text!r} is not understood; write {forms[kind]}.")


def _numbers(text: str) -> list[float]:
    """Numbers between commas; none at all where one of them is something else."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def _looks(text: str) -> Looks:
    if text.isdigit():
        return int(text)
    return tuple(_numbers(text.removesuffix(","))) or text


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 100 else text[:97] + "..."


# --------------------------------------------------------------------------------------------------------------- carrying out


def apply_edits(layout: Layout, edits: Sequence[Edit], photograph: Size) -> Edited:
    """Carry out edits, one after the other.

    Objects keep their names: what was relabelled is still found by the name that it had.

    Args:
        layout: Of the photograph.
        edits: What to do.
        photograph: Its height and width, in whose pixels objects are moved.

    Raises:
        LabelError: An object or class is unknown, or cannot be edited so.
    """
    high, wide = layout.shape
    work = _Work(layout, scale=(wide / photograph[1], high / photograph[0]))
    for edit in edits:
        work.do(edit)
    return Edited(work.layout, work.copies, tuple(work.looks))


class _Work:
    """Edits being carried out."""

    def __init__(self, layout: Layout, scale: tuple[float, float]) -> None:
        self._first, self._scale = layout, scale
        self.layout = layout
        self.copies: dict[ObjectKey, ObjectKey] = {}
        self.looks: list[tuple[str | ObjectKey, Looks]] = []
        self._now: dict[ObjectKey, ObjectKey] = {}  # what was relabelled
        self._gone: dict[ObjectKey, str] = {}

    def do(self, edit: Edit) -> None:
        """Carry out one edit."""
        match edit:
            case Remove(remove=name):
                self._each(name, lambda key: remove_object(self.layout, key), self._remove_ground)
            case Move(move=name, by=by, scale=scale):
                self._each(
                    name, lambda key: move_object(self.layout, key, *self._pixels(by), scale), self._refuse_ground
                )
            case Paste(paste=name, by=by, scale=scale):
                self._each(name, lambda key: self._paste(key, by, scale), self._refuse_ground)
            case Relabel(relabel=name, to=to):
                self._each(name, lambda key: self._relabel(key, to), lambda index: self._relabel_ground(index, to))
            case Restyle(restyle=name, to=looks):
                _, keys = self._find(name)
                self.looks += [(name.strip(), looks)] if keys is None else [(key, looks) for key in keys]

    def _each(self, name: str, change: Callable[[ObjectKey], Layout], ground: Callable[[int], Layout]) -> None:
        """Change an object, or all objects of a class and what the ground has of it."""
        index, keys = self._find(name)
        if keys is None:
            keys = [layer.key for layer in self.layout.layers if layer.key.class_index == index]
            rest = bool((self.layout.ground_label == index).any()) and index not in self.layout.space.things
            if not keys and not rest:
                raise LabelError(f"There is no {name} in the photograph. --list shows what there is.")
            if rest:
                self.layout = ground(index)
        for key in keys:
            self.layout = change(key)

    def _find(self, name: str) -> tuple[int, list[ObjectKey] | None]:
        index, keys = find_objects(self._first, name)
        if keys is None:
            return index, None
        keys = [self._now.get(key, key) for key in keys]
        there = {layer.key for layer in self.layout.layers}
        if any(key not in there for key in keys):
            raise LabelError(f"{name} was removed by an earlier edit: leave out one of both.")
        return index, keys

    def _pixels(self, by: tuple[float, float]) -> tuple[int, int]:
        return round(by[0] * self._scale[0]), round(by[1] * self._scale[1])

    def _paste(self, key: ObjectKey, by: tuple[float, float], scale: float) -> Layout:
        left, _, right, bottom = self.layout.find(key).mask.box
        dx, dy = self._pixels(by)
        layout, copy = paste_object(self.layout, self.layout, key, ((left + right) // 2 + dx, bottom + dy), scale)
        self.copies[copy] = self.copies.get(key, key)
        return layout

    def _relabel(self, key: ObjectKey, to: str) -> Layout:
        layout, new = relabel_object(self.layout, key, to)
        self._now |= {old: new for old, now in [*self._now.items(), (key, key)] if now == key}
        return layout

    def _remove_ground(self, index: int) -> Layout:
        mine = self.layout.ground_label == index
        if mine.all():
            raise LabelError(
                f"{self.layout.space.names[index]} is all that there is behind the objects: without it nothing would be left. "
                "Relabel it instead."
            )
        nearest: Any = ndimage.distance_transform_edt(mine, return_distances=False, return_indices=True)
        label, instance = (a[tuple(nearest)] for a in (self.layout.ground_label, self.layout.ground_instance))
        return replace(self.layout, ground_label=label, ground_instance=instance)

    def _relabel_ground(self, index: int, to: str) -> Layout:
        mine = self.layout.ground_label == index
        mask = Mask.of(mine)
        assert mask is not None
        below = self.layout if mine.all() else self._remove_ground(index)
        new = below.new_layer(below.class_index(to), mask)
        return below.with_layers([new, *below.layers])

    def _refuse_ground(self, index: int) -> Layout:
        name = self.layout.space.names[index]
        raise LabelError(
            f"{name} is not countable: what there is of it cannot be moved or copied, only removed, relabelled or restyled."
        )
