"""What `gesso evaluate --as-training-data` reads: real photographs to learn from and to test on, generated ones, and no leak."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gesso.cli.common import DataFlags, open_listing, parse_size, require_space
from gesso.cli.evaluation_settings import EvaluationSettings
from gesso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.data.generated import Made
    from gesso.data.layouts import Listing
    from gesso.data.pairing import Sample
    from gesso.labels import LabelSpace

SMALLEST = 16  # pixels high and wide


@dataclass(frozen=True)
class Sets:
    """The photographs, all at one size.

    Attributes:
        real: To learn from.
        generated: To learn from.
        held_out: Real ones to test on.
        made: Where the generated ones are from, line by line of their manifest.
        size: (height, width) of all.
        split: Part of the real data that is tested on.
        train_split: Part of it that is learned from.
        generated_split: Folder of the generated data.
    """

    real: SemanticDataset
    generated: SemanticDataset
    held_out: SemanticDataset
    made: tuple[Made, ...]
    size: tuple[int, int]
    split: str
    train_split: str
    generated_split: str

    @property
    def space(self) -> LabelSpace:
        """The classes."""
        assert self.real.space is not None
        return self.real.space

    def learned(self, source: str) -> SemanticDataset:
        """What a row learns from: "real", "generated" or "both"."""
        from gesso.evaluate.training_data import GENERATED, REAL

        if source in (REAL, GENERATED):
            return self.real if source == REAL else self.generated
        return _dataset([*self.real.samples, *self.generated.samples], self.space, self.size)


def open_sets(generated: Path, data: Path | None, where: DataFlags, settings: EvaluationSettings) -> Sets:
    """Open real and generated photographs, and see that they can be compared.

    Raises:
        ConfigError: Flags contradict each other, or no size is common to all.
        DataError: Something is not there, is of another label space, the generated photographs are of held-out layouts, or a
            real photograph is both learned from and tested on.
    """
    if data is None or not data.is_dir():
        raise ConfigError(
            "--as-training-data needs the folder of a dataset of real photographs with its splits: give --data."
        )
    split, train_split = settings.split or "val", settings.train_split
    if split == train_split:
        raise ConfigError(
            f"--split {split} is what is learned from (--train-split), too: what is tested on must not be learned from."
        )
    learned, tested = (_pairs(open_listing(data, where, name), name) for name in (train_split, split))
    found, made = _open_generated(generated, train_split)
    space = _common_space(learned, found)
    _refuse_leak(made, found.root / found.split, tested, split)
    _refuse_common(learned, train_split, tested, split)
    tested_on = tested.samples[: settings.limit]
    size = _size(settings.size, made)
    sets = [_dataset(samples, space, size) for samples in (learned.samples, found.samples, tested_on)]
    return Sets(sets[0], sets[1], sets[2], tuple(made), size, split, train_split, found.split)


def _dataset(samples: Sequence[Sample], space: LabelSpace, size: tuple[int, int]) -> SemanticDataset:
    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Preprocessing

    how = Preprocessing(resize="fixed", height=size[0], width=size[1])
    return SemanticDataset(samples, space, how, training=False, instances=False)


def _pairs(listing: Listing, split: str) -> Listing:
    """The samples of a listing that have a label map and a photograph.

    Raises:
        DataError: There is none, or nothing says what the values of the label maps mean.
    """
    from dataclasses import replace

    require_space(listing)
    samples = tuple(s for s in listing.samples if s.label and s.image and not s.source)
    if not samples:
        raise DataError(
            f"{listing.root}, split {split!r}, has no photographs with label maps, which is what a segmenter learns from and is "
            "tested on."
        )
    return replace(listing, samples=samples)


def _open_generated(folder: Path, split: str) -> tuple[Listing, list[Made]]:
    """The generated photographs with their manifest: of the split that is learned from, or of the only one there.

    Raises:
        ConfigError: The folder is the split of such a dataset, or has several others than the one that is learned from.
        DataError: It is no such dataset, or not whole.
    """
    from gesso.data import layouts
    from gesso.data.generated import GENERATION, MANIFEST, read_manifest

    if any((folder / name).is_file() for name in (GENERATION, MANIFEST)):
        raise ConfigError(
            f"--as-training-data {folder} is a split of a generated dataset: name {folder.parent}, not {folder}."
        )
    there = layouts.splits(folder)
    if split not in there and len(there) > 1:
        raise ConfigError(
            f"{folder} has no split {split}, which is learned from; it has {', '.join(there)}. Say with --train-split what is "
            "learned from, or generate photographs of that split."
        )
    chosen = split if split in there else there[0]
    made = read_manifest(folder / chosen)
    return _pairs(layouts.camvid(folder, chosen), chosen), made


def _common_space(real: Listing, generated: Listing) -> LabelSpace:
    """The label space that reads both.

    Raises:
        DataError: They mean different things.
    """
    from gesso.data.generated import writable

    ours, theirs = real.space, generated.space
    assert ours is not None and theirs is not None
    if ours.names != theirs.names:
        strange = sorted({*theirs.names} ^ {*ours.names})
        told = f"{', '.join(strange[:5])} are in one alone" if strange else "their order differs"
        raise DataError(
            f"{generated.root} is in the label space {theirs.name} ({len(theirs)} classes), {real.root} in {ours.name} "
            f"({len(ours)} classes): {told}. What was learned in one cannot be tested in the other; generate with a model of "
            f"{ours.name}."
        )
    wanted = writable(ours)
    if [c.values for c in wanted.classes] != [c.values for c in theirs.classes] or wanted.ignore != theirs.ignore:
        raise DataError(
            f"{generated.root} and {real.root} have the same classes, but other values stand for them in their files, so that "
            "they cannot be read together. Generate with a model that was trained on these data."
        )
    return theirs


def _refuse_leak(made: Sequence[Made], folder: Path, tested: Listing, split: str) -> None:
    """See that no generated photograph is of a layout that is tested on, nor has an object that was copied from one.

    Raises:
        DataError: One is or has, or is said to be of that split.
    """
    from gesso.data.generated import file_digest

    known = {file_digest(sample.label): sample.name for sample in tested.samples if sample.label}
    why = "what is learned from them has seen the layouts that it is tested on, and would look better than it is"
    instead = "Generate from layouts of the training split (gesso generate --dataset --split train), or test on another --split."
    for one in made:
        for layout, source in one.layouts.items():
            if layout in known:
                done = "was made of" if layout == one.layout else "has an object of"
                raise DataError(
                    f"{folder} leaks: {one.file} {done} {source}, which is {known[layout]} of {tested.root.name} {split}: {why}. "
                    f"{instead}"
                )
        if one.split == split:
            raise DataError(
                f"{folder} leaks: its manifest says that {one.file} was made of {one.source} of the split {split!r}: "
                f"{why}. {instead}"
            )


def _refuse_common(learned: Listing, train_split: str, tested: Listing, split: str) -> None:
    """See that no file of a real photograph that is tested on is one of those that are learned from.

    Raises:
        DataError: Naming both.
    """
    from gesso.data.generated import file_digest

    sizes: dict[int, list[Path]] = {}  # only files of one size can be equal: nothing else is read
    for sample in tested.samples:
        if sample.image and sample.image.is_file():  # of others whoever reads them says more
            sizes.setdefault(sample.image.stat().st_size, []).append(sample.image)
    alike = [s.image for s in learned.samples if s.image and s.image.is_file() and s.image.stat().st_size in sizes]
    known = {file_digest(file): file for size in {file.stat().st_size for file in alike} for file in sizes[size]}
    for file in alike:
        if other := known.get(file_digest(file)):
            raise DataError(
                f"{file} of split {train_split}, which is learned from, is {other} of split {split}, which is tested on: what "
                "has seen it would look better than it is. Remove it from one of them."
            )


def refuse_out_inside(out: Path, *folders: Path | None) -> None:
    """See that results are not written into a dataset that is read.

    Raises:
        ConfigError: They would be.
    """
    place = os.path.join(os.path.realpath(out), "")
    for folder in folders:
        if folder is not None and place.startswith(os.path.join(os.path.realpath(folder), "")):
            raise ConfigError(f"--out {out} lies in the dataset {folder}, which is read: name a folder outside of it.")


def _size(given: str | None, made: Sequence[Made]) -> tuple[int, int]:
    if given is not None:
        size = parse_size(given)
        if min(size) < SMALLEST:
            raise ConfigError(f"--size {given}: at least {SMALLEST}x{SMALLEST}.")
        return size
    sizes = sorted({one.size for one in made})
    if len(sizes) > 1:
        least, most = (f"{height}x{width}" for height, width in (sizes[0], sizes[-1]))
        raise ConfigError(
            f"The generated photographs are of {len(sizes)} sizes, from {least} to {most}: say "
            "with --size HEIGHTxWIDTH at which everything is learned and tested."
        )
    return sizes[0]


def augmentations(made: Sequence[Made]) -> str:
    """What was done to the layouts of a manifest, counted."""
    done = [one.augmentations for one in made]
    counts: dict[str, Any] = {
        "mirrored": sum(one.flip for one in done),
        "bent": sum(one.warp > 0 for one in done),
        "with objects taken out": sum(bool(one.removed) for one in done),
        "with objects put in": sum(bool(one.pasted) for one in done),
    }
    told = [f"{count} {what}" for what, count in counts.items() if count]
    return f"of {len(made)}: {', '.join(told) or 'none was changed'}"
