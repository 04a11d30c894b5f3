"""Which files a model takes for its input: as its training did, unless flags say otherwise; and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gesso.cli.common import DataFlags
from gesso.errors import DataError

if TYPE_CHECKING:
    from gesso.data.layouts import Listing
    from gesso.data.preprocessing import Preprocessing
    from gesso.model_info import ModelInfo

Say = Callable[[str], object]
NEARLY = 0.02  # by how much of itself an aspect ratio may differ from another that is taken for the same


def as_trained(info: ModelInfo, data: Path | None, flags: DataFlags) -> DataFlags:
    """The flags, with what the model file says of direction and input where they say nothing.

    Folders that are named as what they are (`--sources` alone, or with `--images` for a model that learned from side-by-side
    files) stay that: nothing is to be exchanged or made gray there.
    """
    direction, asked = flags.direction, flags.input
    as_they_are = bool(info.side_by_side and flags.sources)
    if direction is None and not as_they_are and (data is not None or flags.images):
        direction = info.direction
    meant_as_labels = flags.space or flags.instances or (info.input == "gray" and flags.labels)
    if asked is None and not meant_as_labels and not (flags.sources and flags.images):
        asked = info.input if info.input in ("image", "gray") else None
    return replace(flags, direction=direction, input=asked)


def contradictions(info: ModelInfo, flags: DataFlags) -> list[str]:
    """Lines for people, where flags say another thing than training."""
    lines = []
    if flags.direction and info.direction and flags.direction != info.direction:
        lines.append(
            f"--direction {flags.direction} was given, but the model was trained with {info.direction}: input and target are "
            "exchanged."
        )
    same = {
        ("gray", "auto"): info.semantics.source_channels == 1,
        ("image", "auto"): bool(info.semantics.source_channels),
    }
    if flags.input and info.input and flags.input != info.input and not same.get((flags.input, info.input)):
        lines.append(f"--input {flags.input} was given, but the model was trained with --input {info.input}.")
    return lines


def take_halves(
    info: ModelInfo, trained: Preprocessing, listing: Listing, data: Path | None, flags: DataFlags, say: Say
) -> Listing:
    """Side-by-side files A|B in a bare folder, or one such file: the half that the model takes.

    Args:
        info: Of a model that takes pictures.
        trained: How training brought its input to size.
        listing: What was found.
        data: DATA of the command line.
        flags: As they were given.
        say: Told what was assumed.

    Raises:
        DataError: The files look like A|B, but may be whole input pictures.
    """
    direction: Literal["AtoB", "BtoA"] = flags.direction or info.direction or "AtoB"
    if data is None or listing.convention not in ("file", "folders"):
        if listing.convention == "pairs" and not (flags.direction or info.direction):
            say(
                f"The model file does not say which half of {listing.root}'s A|B files is the input: A, the left one, is taken. "
                "--direction BtoA takes the other."
            )
        return listing
    if flags.convention == "pairs" or (info.side_by_side and flags.direction):
        samples = (replace(sample, image=sample.source, half=direction) for sample in listing.samples)
        return replace(listing, samples=tuple(samples))
    remedy = f"Where they are side-by-side files A|B: --convention pairs --direction {direction}"
    double = _twice_as_wide(listing, trained)
    if double and info.side_by_side:
        raise DataError(
            f"{double}, and the model was trained on halves of such files. {remedy}. Where they are whole input pictures: name "
            "their folder with --sources."
        )
    if double:
        say(f"{double}. All are taken whole. {remedy}.")
    elif info.side_by_side or flags.direction:
        say(f"{data} is taken for whole input pictures. {remedy}.")
    return listing


def _twice_as_wide(listing: Listing, trained: Preprocessing) -> str:
    """What there is to say where the first picture has the shape of two of training; empty if it has not."""
    from gesso.data.readers import read_input

    if trained.resize != "fixed" or not (trained.height and trained.width):
        return ""
    first = listing.samples[0]
    high, wide = read_input(first).shape[:2]
    if wide % 2 or abs(wide * trained.height / (2 * high * trained.width) - 1) > NEARLY:
        return ""
    return f"{first.source} is {high}x{wide}, of the shape of two pictures of {trained.height}x{trained.width} side by side"
