"""Styles as data: what was chosen for a class or an object, with a seed for the rest.

A `Style` knows no model: it travels in PNGs, JSON files, on the command line and through the editor. What a choice means to a
model is said in `gesso.synthesis.style_space`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gesso.errors import StyleError
from gesso.labels import LabelSpace

Vector = tuple[float, ...]

IGNORED = "(ignored)"  # what stands for the class of ignored pixels
LARGEST = 10.0  # an encoder ends in tanh: its numbers lie in -1..1; beyond that is exaggeration


def _choice(value: object) -> int | Vector:
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(plain, int) and not isinstance(plain, bool) and plain >= 0:
        return plain
    if isinstance(plain, list | tuple) and plain and all(map(_is_number, plain)):
        return tuple(map(float, plain))
    raise ValueError(
        f"{value!r} is neither the number of a mode (0, 1, ...) nor a vector of numbers in -{LARGEST:g}..{LARGEST:g}"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def object_name(value: object) -> str:
    """How styles name an object: "26001", or "car:26001" where its class is said too.

    Raises:
        ValueError: The value is no such name.
    """
    match = re.fullmatch(r"(?:(?P<owner>.+):)?(?P<id>[+-]?\d+)", str(value).strip())
    if match is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is no object: write its id (26001), or its class and id (car:26001)")
    return f"{match['owner']}:{int(match['id'])}" if match["owner"] else f"{int(match['id'])}"


Choice = Annotated[int | Vector, BeforeValidator(_choice)]
ObjectName = Annotated[str, BeforeValidator(object_name)]


class Style(BaseModel):
    """Choices of style; what is not chosen is drawn at random, object by object, from the modes of its class.

    A choice is the number of a mode, or a vector: as many numbers as the model keeps per object. An encoder's lie in -1..1;
    up to 10 is taken too, and exaggerates.

    Attributes:
        seed: Of the random draws; None takes the seed of the call.
        classes: Choices by class name, for all objects of the class; "(ignored)" names the ignored pixels.
        instances: Choices for single objects, which win over their class's. An object is named by its id ("26001"), or by class
            and id ("car:26001") where several classes use the id; numbers are taken as keys too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None = Field(default=None, ge=0)
    classes: dict[str, Choice] = Field(default_factory=dict)
    instances: dict[ObjectName, Choice] = Field(default_factory=dict)

    @staticmethod
    def parse(document: Any, origin: str = "style") -> Style:
        """Build a style from JSON content; `origin` is named in errors.

        Raises:
            StyleError: The content is not a style.
        """
        try:
            return Style.model_validate(document)
        except ValidationError as error:
            places = ((".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in error.errors())
            said = "; ".join(f"{place}: {message}" if place else message for place, message in places)
            raise StyleError(
                f"The {origin} is not valid: {said}. It may hold seed, classes (name: mode or vector) and instances "
                "(id: mode or vector)."
            ) from None

    @staticmethod
    def load(path: str | Path) -> Style:
        """Read a style from JSON.

        Raises:
            StyleError: The file is missing, is not JSON, or is not a style.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise StyleError(f"Cannot read the style {path}: {error.strerror}. Check the path.") from None
        except ValueError as error:
            raise StyleError(
                f"{path} is not JSON ({error}); a style is what Style.save writes, or a generated PNG."
            ) from None
        return Style.parse(document, f"style {path}")

    def save(self, path: str | Path) -> None:
        """Write the style as JSON."""
        Path(path).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def updated(self, later: Style) -> Style:
        """This style with another's choices on top.

        A later choice for a class also replaces what was chosen here for single objects of it, as far as they are named by
        class and id.
        """
        kept = {name: c for name, c in self.instances.items() if name.rpartition(":")[0] not in later.classes}
        return Style(
            seed=self.seed if later.seed is None else later.seed,
            classes={**self.classes, **later.classes},
            instances={**kept, **later.instances},
        )


def parse_style(choices: Sequence[str], space: LabelSpace) -> Style:
    """A style from text; later choices win.

    Args:
        choices: Each "car=3" (mode 3 for the class), "car=0.1,-0.3,0.5" (a vector; of one number: "car=0.5"),
            "instance:26001=2", or "instance:car:26001=2" where several classes use the id.
        space: Classes that may be named.

    Raises:
        StyleError: A choice cannot be read, or names a class that the space does not have.
    """
    found: dict[str, dict[str, Any]] = {"classes": {}, "instances": {}}
    for text in choices:
        name, _, value = (part.strip() for part in text.rpartition("="))
        numbers = _numbers_in(value)
        if not name or numbers is None:
            raise StyleError(
                f"{text!r} is not a choice of style; write CLASS=MODE (car=3), CLASS=VECTOR (car=0.1,-0.3,0.5), "
                "instance:ID=MODE or instance:ID=VECTOR."
            )
        if name.startswith("instance:"):
            found["instances"][name.removeprefix("instance:")] = numbers
        else:
            found["classes"][name] = numbers
    style = Style.parse(found, f"style {' '.join(choices)!r}")
    for name in style.classes:
        class_index(name, space)
    return style


def _numbers_in(text: str) -> int | list[float] | None:
    """A whole number alone is a mode, everything else a vector; None if there is something that is no number."""
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    try:
        return [float(part) for part in text.removesuffix(",").split(",")]
    except ValueError:
        return None


def class_index(name: str, space: LabelSpace) -> int:
    """Index of a class by name; ignored pixels have one too.

    Raises:
        StyleError: No class has that name.
    """
    if name in space.names:
        return space.names.index(name)
    if name == IGNORED:
        return len(space)
    raise StyleError(
        f"A style was chosen for {name!r}, which is no class of {space.name}; its classes are {', '.join(space.names)}. "
        "For a single object write instance:ID."
    )
