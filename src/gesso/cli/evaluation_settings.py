"""What `gesso evaluate` is told: the flags of measuring, and what is measured."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gesso.errors import ConfigError

MODEL_FILE = "model.safetensors"
ORACLE = "real photographs"
PAINTED_ORACLE = "true label maps"
STYLING = {  # how the protocol says what pictures wear
    "random": "random, one per layout",
    "own": "of each layout's own photograph, where the model takes it; else random, one per layout",
}


@Parameter(name="*", group="Measuring")
@dataclass(frozen=True)
class EvaluationSettings:
    """How pictures are measured.

    Attributes:
        split: Part of DATA; by default val, test or train, whichever is there first.
        train_split: Part of DATA that the segmenter learns from.
        size: HEIGHTxWIDTH at which everything is compared; by default the size that the models were trained at, if they agree.
        segmenter: What reads the pictures: "train" trains one on the real photographs of --train-split, once per dataset; "none";
            a file of --save-segmenter; or SegFormer, UperNet or Mask2Former by name on the Hugging Face hub or as a folder.
        segmenter_steps: Steps of "train", instead of the usual number.
        segmenter_classes: For a segmenter of the hub: a JSON file {"its class": "our class" or null} where names differ.
        save_segmenter: Keep the segmenter that was trained in this file.
        features: What distances between sets of pictures are taken of: the features of the segmenter that was trained here, or
            those of Inception, by which FID and KID are defined; "auto" is Inception where its weights are given, else the
            segmenter.
        inception_weights: A local copy of the published weights of Inception.
        distance: What diversity is measured with: LPIPS, or the features of the segmenter; "auto" is LPIPS where its weights are
            given, else the segmenter.
        alexnet_weights: A local copy of AlexNet's weights, for LPIPS.
        lpips_weights: A local copy of the weights of LPIPS.
        diversity_layouts: Layouts, evenly over the data, of which several results are made; 0 leaves that out.
        diversity_results: Results of each.
        style: What each picture wears: a style drawn at random by --seed, each layout another, or its own photograph's, for
            models with an encoder.
        band: Half the width of the band around object boundaries, in pixels.
        neighbours: k of precision, recall, density and coverage.
        set_size: Pictures of each side in distances between sets; all by default. To compare evaluations, use one size.
        seed: Of what layouts leave open, and of all draws.
        resamples: Draws behind an interval; at most 100 for distances between sets.
        limit: Only the first so many layouts.
        batch: Pictures that are read and segmented together.
        device: auto, cpu, cuda, cuda:N or mps.
        keep_pictures: Keep the pictures in OUT/pictures, where an interrupted evaluation finds them again and the report takes
            its galleries from.
    """

    split: str = ""
    train_split: str = "train"
    size: str | None = None
    segmenter: str = "train"
    segmenter_steps: int | None = None
    segmenter_classes: Path | None = None
    save_segmenter: Path | None = None
    features: Literal["auto", "segmenter", "inception", "none"] = "auto"
    inception_weights: Path | None = None
    distance: Literal["auto", "segmenter", "lpips", "none"] = "auto"
    alexnet_weights: Path | None = None
    lpips_weights: Path | None = None
    diversity_layouts: int = 8
    diversity_results: int = 4
    style: Literal["random", "own"] = "random"
    band: float = 3.0
    neighbours: int = 5
    set_size: int | None = None
    seed: int = 0
    resamples: int = 1000
    limit: int | None = None
    batch: int = 4
    device: str = "auto"
    keep_pictures: bool = True

    def check(self) -> None:
        """See that the settings make sense, whatever is measured.

        Raises:
            ConfigError: A number is too small or none, or flags contradict each other.
        """
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"--{name.replace('_', '-')} {value}: give a finite number.")
        least = {"segmenter_steps": 1, "diversity_layouts": 0, "diversity_results": 2, "band": 0, "neighbours": 1}
        least |= {"set_size": 2, "resamples": 20, "limit": 1, "batch": 1, "seed": 0}
        for name, smallest in least.items():
            if (value := getattr(self, name)) is not None and value < smallest:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: at least {smallest}.")
        for name in ("segmenter_steps", "save_segmenter"):
            if (value := getattr(self, name)) is not None and self.segmenter != "train":
                raise ConfigError(
                    f"--{name.replace('_', '-')} {value} is for --segmenter train, but --segmenter is {self.segmenter}."
                )
        if self.segmenter_classes and not self.from_hub:
            raise ConfigError(
                f"--segmenter-classes {self.segmenter_classes} says what classes of the hub's segmenters mean; --segmenter "
                f"{self.segmenter} knows the classes of the data."
            )
        if self.save_segmenter and self.save_segmenter.suffix.lower() != ".safetensors":
            raise ConfigError(f"--save-segmenter {self.save_segmenter}: name a file that ends in .safetensors.")
        for weights, flag, value in (
            ("inception_weights", "features", "inception"),
            ("alexnet_weights", "distance", "lpips"),
            ("lpips_weights", "distance", "lpips"),
        ):
            if getattr(self, weights) and getattr(self, flag) not in ("auto", value):
                raise ConfigError(
                    f"--{weights.replace('_', '-')} is for --{flag} {value}, but --{flag} is {getattr(self, flag)}."
                )

    @property
    def from_file(self) -> bool:
        """Whether the segmenter is a file."""
        return self.segmenter not in ("train", "none") and (
            self.segmenter.endswith(".safetensors") or Path(self.segmenter).is_file()
        )

    @property
    def from_hub(self) -> bool:
        """Whether the segmenter is one of the hub."""
        return self.segmenter not in ("train", "none") and not self.from_file


Settings = Annotated[EvaluationSettings | None, Parameter(name="*")]


@dataclass(frozen=True)
class Entry:
    """Something to be measured.

    Attributes:
        name: Of its row.
        path: A model file, a run folder, or a folder of pictures named like the samples.
    """

    name: str
    path: Path

    @property
    def file(self) -> Path | None:
        """The model file; None for a folder of pictures."""
        if self.path.is_dir():
            return self.path / MODEL_FILE if (self.path / MODEL_FILE).is_file() else None
        return self.path

    @property
    def folder(self) -> str:
        """What the folder of its pictures is called."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-._") or "row"


def read_entries(texts: Sequence[str]) -> tuple[Entry, ...]:
    """What is to be measured: PATH or NAME=PATH each; a path goes by as much of its end as tells it from the others.

    Raises:
        ConfigError: Two rows would have one name, a path does not exist, or it is a run without a model file.
    """
    pairs = [(("", text) if Path(text).exists() else _split(text)) for text in texts]
    paths = [Path(path) for _, path in pairs]
    for path in paths:
        if not path.exists():
            raise ConfigError(
                f"{path} does not exist. Give model files, run folders, or folders of pictures; NAME=PATH names a row."
            )
        if path.is_dir() and (path / "config.json").is_file() and not (path / MODEL_FILE).is_file():
            raise ConfigError(
                f"{path} is a run that has no {MODEL_FILE} yet: training writes one whenever it saves. Train on, or give another."
            )
    entries = tuple(Entry(name or _short(path, paths), path) for (name, _), path in zip(pairs, paths, strict=True))
    refuse_equal_names(entries)
    return entries


def _split(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    return (name.strip(), path) if equals and name.strip() else ("", text)


def refuse_equal_names(entries: Sequence[Entry]) -> None:
    """Rows, and the folders of their pictures, go by their names.

    Raises:
        ConfigError: Two have one name, or one that the real photographs have.
    """
    taken = {ORACLE: ORACLE, PAINTED_ORACLE: PAINTED_ORACLE}
    for entry in entries:
        key = entry.folder.lower()
        if key in taken or entry.name in taken:
            other = taken.get(key, entry.name)
            raise ConfigError(
                f"{entry.path} would be called {entry.name!r}, which is too near to {other!r}: name it with NAME=PATH."
            )
        taken[key] = entry.name


def _short(path: Path, others: Sequence[Path]) -> str:
    """The end of a path without what all model files are called."""
    parts, theirs = _parts(path), [_parts(other) for other in others]
    for count in range(1, len(parts)):
        if sum(other[-count:] == parts[-count:] for other in theirs) == 1:
            return "/".join(parts[-count:])
    return parts[-1]


def _parts(path: Path) -> tuple[str, ...]:
    path = path.resolve()
    if path.name == MODEL_FILE:
        path = path.parent
    return path.with_suffix("").parts if path.suffix == ".safetensors" else path.parts
