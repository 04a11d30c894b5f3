"""The doctor's report: what a dataset holds and what is wrong with it, for programs and, through `render`, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gesso.data.doctor.files import Finding, Severity, UnknownValue
from gesso.labels import Colour, LabelSpace

NO_SPACE = "no-label-space"


@dataclass(frozen=True)
class ClassUse:
    """How much of a dataset one class covers.

    Attributes:
        name: Of the class.
        colour: Of the class.
        pixels: How many pixels, over all label maps.
        maps: In how many label maps it occurs.
    """

    name: str
    colour: Colour
    pixels: int
    maps: int


@dataclass(frozen=True)
class Report:
    """What the doctor found.

    Attributes:
        convention: Folder convention, as in `Listing`.
        root: Folder of the dataset.
        split: Split that was read.
        samples: Complete samples; those with unreadable files count.
        photographs: How many of them have a photograph.
        maps: How many label maps were counted in `classes`.
        space: Label space; None for photo-to-photo data, or where none is known and none can be proposed.
        proposed: Whether that space was made up from the label maps.
        findings: Errors first, then warnings, then notes.
        classes: Use of each class of the space, in its order.
        ignored: Ignored pixels over all label maps.
        sizes: How many samples have each (height, width).
        unknown: File values that the space does not know, most pixels first.
        instances: Where instances come from: "file", "components" of the countable classes, or "none".
        photo_modes: How many photographs have each Pillow mode; "npy" for arrays.
        source_channels: Channels of the source pictures; 0 with label maps.
    """

    convention: str
    root: Path
    split: str
    samples: int
    photographs: int
    maps: int
    space: LabelSpace | None
    proposed: bool
    findings: tuple[Finding, ...]
    classes: tuple[ClassUse, ...]
    ignored: int
    sizes: Mapping[tuple[int, int], int]
    unknown: tuple[UnknownValue, ...]
    instances: Literal["file", "components", "none"]
    photo_modes: Mapping[str, int]
    source_channels: int

    @property
    def ok(self) -> bool:
        """Whether training could start: there is no error."""
        return not self.of("error")

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @cached_property
    def labelled(self) -> int:
        """Pixels that have a class."""
        return sum(use.pixels for use in self.classes)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each class among the labelled pixels, 0..1; all 0 when there are none."""
        return {use.name: use.pixels / max(self.labelled, 1) for use in self.classes}

    @property
    def ignored_share(self) -> float:
        """Share of ignored pixels among all, 0..1."""
        return self.ignored / max(self.labelled + self.ignored, 1)

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """Names of the classes that never occur; none when no label map could be counted."""
        return tuple(use.name for use in self.classes if self.maps and not use.pixels)

    @property
    def median_size(self) -> tuple[int, int] | None:
        """Median height and median width, in pixels, of the samples; None when no size is known."""
        if not self.sizes:
            return None
        height, width = np.median(np.repeat(list(self.sizes), list(self.sizes.values()), axis=0), axis=0)
        return round(float(height)), round(float(width))

    @property
    def aspect_ratios(self) -> dict[float, int]:
        """How many samples have each width / height, rounded to 2 places, from tall to wide."""
        ratios: Counter[float] = Counter()
        for (height, width), samples in self.sizes.items():
            ratios[round(width / height, 2)] += samples
        return dict(sorted(ratios.items()))

    def accept(self) -> Report:
        """This report once its proposed label space has been written beside the data: not an error any more."""
        kept = tuple(finding for finding in self.findings if finding.code != NO_SPACE or self.space is None)
        return replace(self, findings=kept, proposed=False)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values: str, int, float, bool, None, list, dict."""
        return {
            "ok": self.ok,
            "root": str(self.root),
            "convention": self.convention,
            "split": self.split,
            "samples": self.samples,
            "photographs": self.photographs,
            "instances": self.instances,
            "source_channels": self.source_channels,
            "photo_modes": dict(self.photo_modes),
            "sizes": [{"height": h, "width": w, "samples": n} for (h, w), n in self.sizes.items()],
            "median_size": self.median_size and list(self.median_size),
            "aspect_ratios": [{"ratio": ratio, "samples": n} for ratio, n in self.aspect_ratios.items()],
            "label_space": self.space and self.space.model_dump(mode="json"),
            "label_space_proposed": self.proposed,
            "label_maps": self.maps,
            "classes": [
                {"name": use.name, "pixels": use.pixels, "share": share, "label_maps": use.maps}
                for use, share in zip(self.classes, self.shares.values(), strict=True)
            ],
            "empty_classes": list(self.empty_classes),
            "ignored_pixels": self.ignored,
            "ignored_share": self.ignored_share,
            "unknown_values": [asdict(value) | {"path": str(value.path)} for value in self.unknown],
            "findings": [asdict(f) | {"path": None if f.path is None else str(f.path)} for f in self.findings],
        }
