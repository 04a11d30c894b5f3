"""Styles as data: what was chosen for a class, an object or the whole picture, with a seed for the rest.

A `Style` knows no model: it travels in PNGs, JSON files, on the command line and through the editor. What a choice means to a
model is said in `gesso.synthesis.style_space`, `gesso.synthesis.latents` and `gesso.synthesis.noise`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    ValidationError,
    model_serializer,
)

from gesso.errors import StyleError
from gesso.labels import LabelSpace

Vector = tuple[float, ...]

IGNORED = "(ignored)"  # what stands for the class of ignored pixels
LARGEST = 10.0  # features lie in -1..1, beyond that is exaggeration; of a standard normal z one in 10^22 is beyond
LATER = ("z", "noise")  # written only where chosen, so that styles without them are what they always were


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


def _latent(value: object) -> Vector:
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if not isinstance(plain, list | tuple) or not plain:
        raise ValueError(f"{plain!r} is no vector of numbers")
    for place, number in enumerate(plain):
        if not _is_number(number):
            raise ValueError(f"number {place} is {number!r}; allowed are numbers in -{LARGEST:g}..{LARGEST:g}")
    return tuple(map(float, plain))


Choice = Annotated[int | Vector, BeforeValidator(_choice)]
Latent = Annotated[Vector, BeforeValidator(_latent)]
ObjectName = Annotated[str, BeforeValidator(object_name)]


class Style(BaseModel):
    """Choices of style; what is not chosen is drawn at random.

    A model knows some of these choices, and refuses the others. Models with features (pix2pixHD) take choices for classes and
    objects, and draw the rest object by object from the modes of its class. There a choice is the number of a mode, or a vector:
    as many numbers as the model keeps per object. An encoder's lie in -1..1; up to 10 is taken too, and exaggerates. SPADE takes
    z for the whole picture, pix2pix whether there is noise.

    Attributes:
        seed: Of the random draws; None takes the seed of the call.
        classes: Choices by class name, for all objects of the class; "(ignored)" names the ignored pixels.
        instances: Choices for single objects, which win over their class's. An object is named by its id ("26001"), or by class
            and id ("car:26001") where several classes use the id; numbers are taken as keys too.
        z: The latent vector of SPADE, as many numbers as the model has, each in -10..10; None draws it from a standard normal
            distribution.
        noise: Whether pix2pix adds noise: dropout, and its noise map if it has one. None is as published: it does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None = Field(default=None, ge=0)
    classes: dict[str, Choice] = Field(default_factory=dict)
    instances: dict[ObjectName, Choice] = Field(default_factory=dict)
    z: Latent | None = None
    noise: StrictBool | None = None

    @model_serializer(mode="wrap")
    def _written(self, plainly: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in plainly(self).items() if key not in LATER or value is not None}

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
                f"The {origin} is not valid: {said}. It may hold seed, classes (name: mode or vector), instances "
                "(id: mode or vector), z (a vector) and noise (true or false)."
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
        except (ValueError, RecursionError) as error:
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
            z=self.z if later.z is None else later.z,
            noise=self.noise if later.noise is None else later.noise,
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
