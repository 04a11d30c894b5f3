"""A label space for data that has none: a survey of its label maps, and classes made from what they hold."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from gesso.data.readers import read_values
from gesso.errors import DataError, LabelError
from gesso.labels import FILE_VALUES, IGNORED_COLOUR, Colour, LabelClass, LabelSpace, summarise

MOST_CLASSES = 256
VOID_VALUES = (-1, 255)
_GOLDEN_RATIO = 0.618034


@dataclass
class Survey:
    """What label maps hold, before anything is known about its meaning.

    Attributes:
        values: Pixels per integer, over the maps that hold integers.
        palette: Colour per palette position, where every palette file agrees.
        colours: Pixels per colour, over the maps that hold colours.
        value_maps: How many maps hold integers.
        colour_maps: How many hold colours.
        blended: How many of these hold more than 256 colours.
    """

    values: Counter[int] = field(default_factory=Counter)
    palette: dict[int, Colour] = field(default_factory=dict)
    colours: Counter[Colour] = field(default_factory=Counter)
    value_maps: int = 0
    colour_maps: int = 0
    blended: int = 0
    _palettes_differ: bool = False

    def add(self, other: Survey) -> None:
        """Take in the survey of another map."""
        differ = any(self.palette.get(position, colour) != colour for position, colour in other.palette.items())
        self._palettes_differ |= differ
        self.palette = {} if self._palettes_differ else self.palette | other.palette
        self.values += other.values
        self.colours += other.colours
        self.value_maps += other.value_maps
        self.colour_maps += other.colour_maps
        self.blended += other.blended

    def propose(self, name: str) -> LabelSpace:
        """The label space of what most maps hold: integers, or colours.

        Raises:
            LabelError: No map could be read, or there are more than 256 values or colours.
        """
        if self.colour_maps <= self.value_maps:
            return propose_space(self.values, palette=self.palette, name=name)
        if self.blended:
            raise LabelError(
                f"{self.blended} of {self.colour_maps} colour-coded maps hold more than {MOST_CLASSES} colours, blended by "
                "resizing or lossy saving. Save them again with nearest neighbour as PNG, or check that these are maps."
            )
        return propose_space_of_colours(self.colours, name=name)


def survey_map(path: Path) -> Survey:
    """Values or colours of one label map; an empty survey when it cannot be read."""
    try:
        values = read_values(path)
    except LabelError:
        return _survey_colours(path)
    except DataError:
        return Survey()
    found, counts = np.unique(values, return_counts=True)
    return Survey(
        values=Counter(dict(zip(found.tolist(), counts.tolist(), strict=True))),
        palette=_palette(path, found.tolist()),
        value_maps=1,
    )


def _survey_colours(path: Path) -> Survey:
    if path.suffix.lower() == ".npy":
        return Survey()
    with Image.open(path) as image:
        if image.mode not in ("RGB", "RGBA"):
            return Survey()
        rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    packed, counts = np.unique(rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2], return_counts=True)
    if len(packed) > MOST_CLASSES:
        return Survey(colour_maps=1, blended=1)
    colours = [(colour >> 16, colour >> 8 & 255, colour & 255) for colour in packed.tolist()]
    return Survey(colours=Counter(dict(zip(colours, counts.tolist(), strict=True))), colour_maps=1)


def _palette(path: Path, positions: list[int]) -> dict[int, Colour]:
    if path.suffix.lower() == ".npy":
        return {}
    with Image.open(path) as image:
        stored = (image.getpalette("RGB") or []) if image.mode == "P" else []
    return {p: (stored[3 * p], stored[3 * p + 1], stored[3 * p + 2]) for p in positions if 3 * p + 2 < len(stored)}


# ----------------------------------------------------------------------------------------------------------- proposals


def propose_space(
    values: Iterable[int], *, palette: Mapping[int, Colour] | None = None, name: str = "proposed"
) -> LabelSpace:
    """A label space for file values whose meaning is unknown: "class 7" for value 7; 255 and -1 are ignored.

    Masks of 0 and 255 alone become two classes, "background" and "foreground".

    Args:
        values: The integers found.
        palette: Colours stored with them; used when every value has one, all differ and they are not shades of gray.
        name: Of the space.

    Raises:
        LabelError: There are no values, more than 256, or some are outside -1..65535.
    """
    found = set(values)
    if found == {0, 255}:
        first, second = _colours(2)
        background = LabelClass(name="background", values=(0,), colour=first)
        return _space(name, [background, LabelClass(name="foreground", values=(1,), colour=second)], ())
    classes = sorted(found.difference(VOID_VALUES))
    _check(classes)
    colours = _stored(classes, palette or {}) or _colours(len(classes))
    made = [LabelClass(name=f"class {v}", values=(v,), colour=c) for v, c in zip(classes, colours, strict=True)]
    return _space(name, made, tuple(sorted(found.intersection(VOID_VALUES) | {255})))


def propose_space_of_colours(pixels: Mapping[Colour, int], *, name: str = "proposed") -> LabelSpace:
    """A label space for colour-coded maps: one class per colour, the most frequent first; black is ignored.

    Black becomes a class where there is only one other colour.

    Args:
        pixels: How many pixels have each colour.
        name: Of the space.

    Raises:
        LabelError: There are no colours, or more than 256.
    """
    found = sorted(pixels, key=lambda colour: (-pixels[colour], colour))
    classes = [colour for colour in found if colour != IGNORED_COLOUR or len(found) <= 2]
    _check(range(len(classes)))
    made = [LabelClass(name=f"class {i}", values=(i,), colour=colour) for i, colour in enumerate(classes)]
    return _space(name, made, () if len(made) == MOST_CLASSES else (255,))


def _space(name: str, classes: list[LabelClass], ignore: tuple[int, ...]) -> LabelSpace:
    source = "Proposed by gesso doctor from the label maps; rename the classes and mark countable ones as things."
    return LabelSpace(name=name or "proposed", classes=tuple(classes), ignore=ignore, source=source)


def _check(values: Iterable[int]) -> None:
    classes = list(values)
    low, high = FILE_VALUES
    if not classes:
        raise LabelError("No label map holds a class, so no label space can be proposed. Name one with --space.")
    if len(classes) > MOST_CLASSES or classes[0] < low or classes[-1] > high:
        raise LabelError(
            f"The label maps hold {len(classes)} values, {_shortened(summarise(classes))}; a label space is proposed for "
            f"at most {MOST_CLASSES}, from {low} to {high}. If these are instance maps or photographs, give other folders; "
            "else name a label space with --space."
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _stored(classes: list[int], palette: Mapping[int, Colour]) -> list[Colour] | None:
    """The palette's colours, where they can serve as a colour code."""
    colours = [palette[value] for value in classes if value in palette]
    complete = len(colours) == len(classes) and len(set(colours)) == len(colours)
    return colours if complete and any(len(set(colour)) > 1 for colour in colours) else None


def _colours(number: int) -> list[Colour]:
    """Colours that are easy to tell apart: never gray, so that a gray picture is not taken for a colour-coded map."""
    return list(islice(_wheel(), number))


def _wheel() -> Iterator[Colour]:
    """Distinct colours without end: hues in steps of the golden ratio, in turn light, dark, pale and deep."""
    seen: set[Colour] = set()
    step = 0
    while True:
        saturation, value = ((0.75, 0.9), (0.6, 0.6), (0.45, 1.0), (1.0, 0.75))[step % 4]
        red, green, blue = colorsys.hsv_to_rgb(step * _GOLDEN_RATIO % 1, saturation, value)
        colour = (round(red * 255), round(green * 255), round(blue * 255))
        step += 1
        if colour not in seen:
            seen.add(colour)
            yield colour
