"""What several commands share: where the data are, and how progress looks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gesso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gesso.data.layouts import Listing
    from gesso.data.pairing import Sample

DEFAULT_PRESET = "pix2pixhd-small"
RuntimeName = Literal["torch", "plain", "compile", "onnx", "openvino", "openvino-int8"]
Thing = TypeVar("Thing")


@Parameter(name="*")
@dataclass(frozen=True)
class DataFlags:
    """Where the data are.

    Attributes:
        labels: Folder of label maps, instead of DATA.
        images: Folder of photographs; paired with label maps by name.
        instances: Folder of instance maps.
        sources: Folder of input pictures for photo-to-photo tasks, instead of label maps.
        convention: Folder convention of DATA; "auto", if nothing else is said, recognises it.
        direction: Which half of side-by-side pictures is the input (AtoB if nothing else is said); BtoA exchanges input and
            photograph in any dataset; of label maps the photograph becomes the input, and the map, painted in its classes'
            colours, what is to be made of it.
        space: Label space: a published name such as cityscapes, or a labels.json.
        input: What the network sees: "auto" (if nothing else is said) label maps, one channel per class, unless the folders say
            that they are pictures; "colours" label maps painted in the colours of their classes; "image" takes the files in the
            place of label maps as pictures of any channels (edges, drawings); "gray" the photographs alone, of which it sees the
            luminance. Commands that use a model take both as in its training, if nothing else is said.
    """

    labels: Path | None = None
    images: Path | None = None
    instances: Path | None = None
    sources: Path | None = None
    convention: str | None = None
    direction: Literal["AtoB", "BtoA"] | None = None
    space: str | None = None
    input: Literal["auto", "image", "colours", "gray"] | None = None


Data = Annotated[DataFlags | None, Parameter(name="*")]


def open_listing(data: Path | None, flags: DataFlags, split: str) -> Listing:
    """The samples that a command was pointed at.

    Raises:
        ConfigError: Neither or both of DATA and folders were given, or pictures with what belongs to label maps.
        DataError: Nothing can be read there.
    """
    from gesso.data import layouts
    from gesso.data.spaces import resolve

    folders = (flags.labels, flags.images, flags.instances, flags.sources)
    _refuse_contradictions(flags)
    if (data is None) == (not any(folders)):
        raise ConfigError(
            "Give either a dataset folder, or --labels (or --sources) with --images; not both, not neither."
        )
    if data is not None:
        listing = layouts.find(data, split, flags.convention or "auto")
    elif flags.input == "gray":
        listing = layouts.folders(sources=flags.images or flags.sources)
    else:
        listing = layouts.folders(
            labels=flags.labels, images=flags.images, instances=flags.instances, sources=flags.sources
        )
    listing = take_as(listing, flags)
    return replace(listing, space=resolve(flags.space)) if flags.space else listing


def take_as(listing: Listing, flags: DataFlags) -> Listing:
    """A listing as `--input` and `--direction` have it: which of its files is the input, and how networks see it.

    Raises:
        DataError: What they ask for is not there.
    """
    from gesso.data import layouts

    if flags.input == "image":
        listing = layouts.as_pictures(listing)
    if flags.direction == "BtoA":
        listing = layouts.turned(listing)
    if flags.input == "colours":
        listing = layouts.as_colours(listing)
    return layouts.as_gray(listing) if flags.input == "gray" else listing


def _refuse_contradictions(flags: DataFlags) -> None:
    """Pictures have no classes and no objects; what is made of photographs needs nothing but photographs."""
    if flags.input in ("image", "gray"):
        for name in ("space", "instances"):
            if (value := getattr(flags, name)) is not None:
                raise ConfigError(
                    f"--{name} {value} gives label maps a meaning, but --input {flags.input} takes no label maps; leave one out."
                )
    if flags.input == "gray" and (flags.labels or (flags.images and flags.sources)):
        raise ConfigError("--input gray makes its input of photographs alone: give DATA, or --images and nothing else.")
    if flags.input == "colours" and flags.direction == "BtoA":
        raise ConfigError(
            "--input colours paints the label maps that are the input; with --direction BtoA photographs are, and label maps are "
            "painted anyway: leave one out."
        )


def require_space(listing: Listing) -> None:
    """Refuse label maps that have no meaning yet.

    Raises:
        DataError: There are label maps and no label space.
    """
    if listing.space is None and any(sample.label for sample in listing.samples):
        raise DataError(
            f"The label maps in {listing.root} have no label space: nothing says which class a value means. Name one with "
            "--space (a published name or a labels.json), or let gesso doctor write one with --write-labels. If they are "
            "pictures, such as edges or drawings: --input image."
        )


def say_components(dataset: object, console: Console) -> None:
    """Say once that instances are derived, where samples have no instance map and the model wants one."""
    samples = getattr(dataset, "samples", ())
    if getattr(dataset, "instances", False) and any(s.label and not s.instance for s in samples):
        console.print(
            "No instance maps: connected components of the countable classes stand in for them.", soft_wrap=True
        )


def track(things: Iterable[Thing], description: str, total: int, console: Console) -> Iterator[Thing]:
    """Go through things with a progress bar."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield from bar.track(things, total=total, description=description)


def parse_size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH -> (height, width) in pixels.

    Raises:
        ConfigError: The text is not of that form.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"{text!r} is not a size; write HEIGHTxWIDTH in pixels, such as 128x256.")
    return int(parts[0]), int(parts[1])


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def samples_digest(samples: Sequence[Sample], purpose: str, console: Console | None = None) -> str:
    """Over the files of samples: names, sizes and contents, and how they are read; for one purpose, 16 hexadecimal digits.

    Raises:
        DataError: A file is missing.
    """
    from gesso.evaluate.features import features_key

    files = [file for s in samples for file in (s.label, s.source, s.instance, s.image) if file]
    read_as = {"halves": [s.half for s in samples], "photographs": [s.photo for s in samples]}
    return features_key(files, read_as, purpose, console)[:16]


def style_seed(seed: int, name: str, result: int = 0) -> int:
    """What a result for a layout is drawn from: the same on every machine, whichever other layouts there are.

    Args:
        seed: Of the evaluation, or of the dataset that is generated.
        name: Of the layout.
        result: Which of several.

    Returns:
        0..2^48 - 1, which every reader of JSON keeps.
    """
    digest = hashlib.sha256(f"{seed} {result} {name}".encode(errors="surrogateescape"))
    return int.from_bytes(digest.digest()[:6], "big")
