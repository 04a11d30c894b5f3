"""The flags of `gesso generate --dataset`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from gesso.cli.style_flags import StyleFlags
from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.labels import LabelSpace

_PLAIN = Parameter(negative=())


@Parameter(name="*", group="Training data: photographs with their label and instance maps")
@dataclass(frozen=True)
class DatasetFlags:
    """A dataset of generated photographs, instead of photographs alone.

    Attributes:
        dataset: Folder for photographs, label maps and instance maps, as a dataset that gesso train and others read, instead of
            --out. Layouts are taken from the split train unless --split names another.
        variants: Photographs of each layout, each with a style and augmentations of its own.
        flip: Mirror half of the layouts.
        remove: Take up to so many objects out of each layout.
        paste: Put up to so many objects of other layouts, of those that are generated from, into each.
        objects: Class whose objects are taken out and put in, as often as wanted; all countable ones by default.
        warp: 0..1, how strongly half of the layouts are bent, as in training.
        vary_styles: Draw the style of each photograph anew from --seed; without it every photograph wears that of --seed itself.
        shard_size: At most so many photographs in a folder: SPLIT/images/00000, SPLIT/images/00001 and so on.
    """

    dataset: Path | None = None
    variants: int = 1
    flip: Annotated[bool, _PLAIN] = False
    remove: int = 0
    paste: int = 0
    objects: Annotated[list[str] | None, _PLAIN] = None
    warp: float = 0.0
    vary_styles: bool = True
    shard_size: int | None = None

    @property
    def edits(self) -> bool:
        """Whether objects come or go."""
        return self.remove > 0 or self.paste > 0

    def check(self, styles: StyleFlags, others: dict[str, bool]) -> None:
        """See that the flags make sense.

        Args:
            styles: The flags about styles.
            others: Flags of photographs alone, and whether they were given.

        Raises:
            ConfigError: They contradict each other, or a number is out of range.
        """
        if self.dataset is None:
            for field in fields(self):
                if (value := getattr(self, field.name)) != field.default:
                    raise ConfigError(f"--{field.name.replace('_', '-')} {value} is for --dataset OUT: give that too.")
            return
        if given := [flag for flag, there in others.items() if there]:
            raise ConfigError(f"{given[0]} is for photographs alone; --dataset {self.dataset} writes its own files.")
        for name, least in {"variants": 1, "remove": 0, "paste": 0, "shard_size": 1}.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: at least {least}.")
        if not (math.isfinite(self.warp) and 0 <= self.warp <= 1):
            raise ConfigError(f"--warp {self.warp}: give 0 to 1; up to 1 nothing folds.")
        if self.objects and not self.edits:
            raise ConfigError("--objects says what --remove and --paste touch: give one of them too.")
        self._check_styles(styles)

    def _check_styles(self, styles: StyleFlags) -> None:
        for flag, value in (
            ("--random-styles", styles.random_styles),
            ("--interpolate", styles.interpolate),
            ("--steps", styles.steps),
        ):
            if value is not None:
                raise ConfigError(
                    f"{flag} asks for a series of pictures of each layout; a dataset has --variants, each in a style of its own."
                )
        if self.edits and (styles.style_from_photographs or styles.own_photograph):
            whole = "--style-from-photographs" if styles.style_from_photographs else "--style-image"
            raise ConfigError(
                f"{whole} takes styles from where objects are in the photograph, but --remove and --paste change that: leave "
                "one out."
            )

    def classes(self, space: LabelSpace) -> tuple[int, ...]:
        """Indices of the classes whose objects are taken out and put in.

        Raises:
            LabelError: A class is unknown.
            ConfigError: One is not countable, or none is.
        """
        found = tuple(sorted({space.index(name) for name in self.objects})) if self.objects else space.things
        if wrong := [space.names[index] for index in found if index not in space.things]:
            raise ConfigError(
                f"--objects {wrong[0]}: {space.name} says that it is not countable, so there are no objects of it. Countable: "
                f"{', '.join(space.names[i] for i in space.things) or 'none'}."
            )
        if self.edits and not found:
            raise ConfigError(f"--remove and --paste move objects, but no class of {space.name} is countable.")
        return found

    def said(self) -> dict[str, Any]:
        """What decides what the photographs are, for comparing with another run."""
        objects = sorted(set(self.objects)) if self.objects else None
        return {key: value for key, value in {**asdict(self), "objects": objects}.items() if key != "dataset"}


Dataset = Annotated[DatasetFlags | None, Parameter(name="*")]
