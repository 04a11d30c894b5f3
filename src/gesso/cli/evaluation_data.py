"""What `gesso evaluate` reads: layouts with their photographs at the compared size, and layouts as each model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from gesso.cli.common import DataFlags, open_listing, parse_size, require_space
from gesso.cli.evaluation_settings import Entry, EvaluationSettings
from gesso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.data.pairing import Sample
    from gesso.data.preprocessing import Preprocessing
    from gesso.evaluate.measuring import Example
    from gesso.labels import LabelSpace
    from gesso.pictures import Picture
    from gesso.synthesis.synthesizer import Synthesizer

SMALLEST = 16  # pixels high and wide
Kind = Literal["labels", "pictures", "painted"]
RESAMPLING = "photographs and results bicubic with antialiasing (Pillow), label and instance maps by nearest neighbour"


@dataclass(frozen=True)
class Subject:
    """A model or a folder of pictures, with the data as it needs them.

    Attributes:
        entry: As it was given.
        kind: Of a model: it makes photographs of "labels" or of "pictures", or paints label maps ("painted"); None for a folder.
        layouts: Of a model: the layouts as it sees them.
        facts: What the row says of it.
    """

    entry: Entry
    kind: Kind | None = None
    layouts: SemanticDataset | None = None
    facts: dict[str, Any] | None = None


@dataclass(frozen=True)
class Reference:
    """The layouts with their photographs, at the size at which everything is compared.

    Attributes:
        layouts: Label maps with photographs; pictures with photographs; or, where models paint label maps, the true ones with
            the photographs that are the input.
        kind: Which of these.
        size: (height, width); None where each picture keeps its own.
        split: Part of the data.
        photographs: Whether there are any.
    """

    layouts: SemanticDataset
    kind: Kind
    size: tuple[int, int] | None
    split: str
    photographs: bool

    def __len__(self) -> int:
        return len(self.layouts)

    @property
    def space(self) -> LabelSpace | None:
        """The classes of the label maps, if the layouts are some."""
        return None if self.kind == "pictures" else self.layouts.space

    def example(self, item: dict[str, Any]) -> Example:
        """An item of the layouts, as it is measured."""
        from gesso.evaluate.measuring import Example
        from gesso.pictures import to_uint8

        label, instance = (item[key].numpy() if key in item else None for key in ("label", "instance"))
        photograph = to_uint8(item["image"]) if "image" in item and self.kind != "painted" else None
        return Example(item["name"], label, instance, photograph)

    def real(self, item: dict[str, Any]) -> Picture | None:
        """What the oracle row is measured of: the photograph, or the true label map in its colours."""
        from gesso.labels import colourise
        from gesso.pictures import to_uint8

        if self.kind == "painted":
            assert self.layouts.space is not None
            return colourise(item["label"].numpy(), self.layouts.space)
        return to_uint8(item["image"]) if "image" in item else None

    def shown(self, item: dict[str, Any]) -> Picture:
        """The input, for people to look at: classes in their colours, or the picture."""
        from gesso.pictures import layout_picture, to_uint8

        if self.kind == "painted":
            return to_uint8(item["image"])
        return layout_picture(item, self.space)


def open_data(
    entries: Sequence[Entry], data: Path | None, flags: DataFlags, settings: EvaluationSettings, console: Console
) -> tuple[Reference, list[Subject]]:
    """The data, as they are compared and as each model sees them.

    Raises:
        ConfigError: The models cannot be compared at one size, or make different things.
        DataError: There is nothing to read, or a model reads other samples than the others.
        ModelFileError: A model file is missing or damaged.
    """
    from gesso.data.dataset import SemanticDataset

    split = resolve_split(data, settings.split)
    subjects = [open_subject(entry, data, flags, split, settings, console) for entry in entries]
    models = [subject for subject in subjects if subject.layouts is not None]
    kind = _common_kind(models)
    samples, space = _samples(models, kind, data, flags, split, settings.limit)
    if not models:
        kind = "pictures" if samples[0].source else "labels"
    preprocessing = _common_preprocessing(models, settings.size)
    layouts = SemanticDataset(samples, space, preprocessing, training=False, instances=kind != "pictures")
    size = preprocessing.plan((1, 1)).size if preprocessing.resize == "fixed" else None
    photographs = kind == "painted" or all(sample.image for sample in samples)
    return Reference(layouts, kind, size, split, photographs), subjects


def resolve_split(data: Path | None, split: str) -> str:
    """The split that is meant: as given, else val, test or train, whichever is there first; empty for bare folders."""
    from gesso.data import layouts

    if split or data is None or not data.is_dir():
        return split
    try:
        there = layouts.splits(data)
    except DataError:
        return ""
    return next((name for name in ("val", "test", "train") if name in there), there[0])


def open_subject(
    entry: Entry, data: Path | None, flags: DataFlags, split: str, settings: EvaluationSettings, console: Console
) -> Subject:
    """A model with the layouts as it sees them, or a folder of pictures."""
    from gesso.cli.generate import open_layouts

    if entry.file is None:
        return Subject(entry)
    synth = open_synthesizer(entry.file, "cpu")

    def say(line: str) -> None:
        console.print(f"{entry.name}: {line}", soft_wrap=True, markup=False, highlight=False)

    layouts = open_layouts(synth, data, flags, split, settings.limit, original_size=False, say=say)
    kind: Kind = "painted" if synth.info.target_space else "labels" if synth.label_space else "pictures"
    return Subject(entry, kind, layouts, _facts(synth))


def open_synthesizer(file: Path, device: str) -> Synthesizer:
    """A model whose pictures are refused where it computes what is no number.

    Raises:
        ModelFileError: The file is missing, damaged, or no model file.
    """
    import torch

    from gesso.checkpoints import load_model
    from gesso.synthesis.synthesizer import Synthesizer

    model = load_model(file, device)

    def refuse(module: object, inputs: object, output: torch.Tensor) -> None:
        if not bool(torch.isfinite(output).all()):
            raise DataError(
                f"{file} makes pictures that are not finite (NaN): its weights are damaged, or its training had diverged. Take "
                "an earlier state, or another model."
            )

    model.networks["generator"].register_forward_hook(refuse)
    return Synthesizer(model, device)


def _facts(synth: Synthesizer) -> dict[str, Any]:
    info = synth.info
    return {
        "hash": synth.hash[:16],
        "recipe": info.recipe,
        "preset": info.preset,
        "steps": info.step,
        "style": info.style.kind if info.style else "none",
    }


def _common_kind(models: Sequence[Subject]) -> Kind:
    """What all models make; photographs of labels and of pictures may stand side by side."""
    kinds = {subject.kind for subject in models}
    if "painted" in kinds and len(kinds) > 1:
        painter = next(subject.entry.name for subject in models if subject.kind == "painted")
        other = next(subject.entry.name for subject in models if subject.kind != "painted")
        raise ConfigError(
            f"{painter} paints label maps, {other} makes photographs: there is no number for both. Evaluate them apart."
        )
    return "painted" if "painted" in kinds else "pictures" if kinds == {"pictures"} else "labels"


def _samples(
    models: Sequence[Subject], kind: Kind, data: Path | None, flags: DataFlags, split: str, limit: int | None
) -> tuple[tuple[Sample, ...], LabelSpace | None]:
    """The samples, and the classes of their label maps: as the first model of the kind sees them, or plainly as they are."""
    from gesso.cli.generate import find_listing

    if not models:
        listing = find_listing(data, flags, split, pictures=bool(flags.sources))
        require_space(listing)
        return listing.samples[:limit], listing.space
    first = next(subject.layouts for subject in models if subject.kind == kind)
    assert first is not None
    for subject in models:
        _refuse_others(first, subject, kind)
    if kind == "painted":
        turned = (replace(s, source=None, image=s.source, photo="") for s in first.samples)
        return tuple(turned), first.space
    return first.samples, first.space


def _refuse_others(first: SemanticDataset, subject: Subject, kind: Kind) -> None:
    """All models must read the same layouts, and mean the same classes."""
    assert subject.layouts is not None
    names = [[sample.name for sample in layouts.samples] for layouts in (first, subject.layouts)]
    if names[0] != names[1]:
        strange = next((name for name in names[1] if name not in set(names[0])), names[1][0])
        raise DataError(
            f"{subject.entry.name} reads other samples of the data than the first model ({len(names[1])} and {len(names[0])}; "
            f"{strange!r} differs): they cannot be compared. Evaluate them apart."
        )
    own, common = subject.layouts.space, first.space
    if subject.kind == kind != "pictures" and own is not None and common is not None and own.names != common.names:
        raise ConfigError(
            f"{subject.entry.name} knows the classes of {own.name} ({len(own)}), the first model those of {common.name} "
            f"({len(common)}): they cannot be compared on one set of layouts. Evaluate them apart."
        )


def plain(preprocessing: Preprocessing) -> Preprocessing:
    """What of it decides the size of layouts."""
    padding = {} if preprocessing.resize == "nearest_multiple" else {"multiple": 1}
    return preprocessing.model_copy(update={"flip": False, **padding})


def _common_preprocessing(models: Sequence[Subject], size: str | None) -> Preprocessing:
    """How data come to the size at which everything is compared."""
    from gesso.data.preprocessing import Preprocessing

    if size is not None:
        height, width = parse_size(size)
        if min(height, width) < SMALLEST:
            raise ConfigError(
                f"--size {size}: at least {SMALLEST}x{SMALLEST}, where repeated patterns can be looked for."
            )
        return Preprocessing(resize="fixed", height=height, width=width)
    found = {subject.entry.name: plain(subject.layouts.preprocessing) for subject in models if subject.layouts}
    if len(set(found.values())) > 1:
        listed = "; ".join(f"{name}: {_said(how)}" for name, how in found.items())
        raise ConfigError(
            f"The models were trained at different sizes ({listed}), but pictures are compared at one. Say at which with --size "
            "HEIGHTxWIDTH: each model makes its pictures at its own size, and they are scaled."
        )
    return next(iter(found.values()), Preprocessing())


def _said(how: Preprocessing) -> str:
    if how.resize == "fixed":
        height, width = how.plan((1, 1)).size
        return f"{height}x{width}"
    shown = (("height", how.height), ("width", how.width), ("shrink", how.shrink if how.shrink > 1 else None))
    sides = [f"{side} {value}" for side, value in shown if value]
    if how.resize == "nearest_multiple":
        return f"each side the nearest multiple of {how.multiple * how.shrink}"
    return ", ".join([how.resize, *sides])


def open_training(
    reference: Reference, data: Path | None, flags: DataFlags, settings: EvaluationSettings
) -> tuple[SemanticDataset, SemanticDataset | None, str]:
    """Photographs with label maps that a segmenter can learn from, held-out ones, and where they are from.

    Raises:
        ConfigError: The data have no other split to learn from.
        DataError: The split is not there, or has no photographs.
    """
    from gesso.data.dataset import SemanticDataset

    instead = "Give a segmenter with --segmenter FILE, or none with --segmenter none."
    if data is None or not reference.split:
        raise ConfigError(
            f"--segmenter train learns from the split {settings.train_split!r} of DATA, but what was given has no splits. "
            f"{instead}"
        )
    space, how = reference.layouts.space, reference.layouts.preprocessing
    pairs = pairs_of(data, flags, settings.train_split)
    if not pairs:
        raise DataError(
            f"{data}, split {settings.train_split!r}, has no label maps with photographs to train a segmenter on. {instead}"
        )
    training = SemanticDataset(pairs, space, how, training=False, instances=False)
    held_out = None
    if settings.train_split != reference.split and reference.photographs:
        whole = open_listing(data, flags, reference.split)
        held_out = SemanticDataset(whole.samples, space, how, training=False, instances=False)
    return training, held_out, origin_of(data, settings.train_split)


def pairs_of(data: Path | None, flags: DataFlags, split: str) -> list[Sample]:
    """The samples of a split that a segmenter can learn from.

    Raises:
        DataError: The split is not there.
    """
    listing = open_listing(data, flags, split)
    return [sample for sample in listing.samples if sample.label and sample.image and not sample.source]


def origin_of(data: Path, split: str) -> str:
    """What a segmenter says that it learned from."""
    return f"{data.resolve().name} {split}"
