"""What the samples of a dataset add up to, and what is wrong only when they are seen together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gesso.data.doctor.files import Finding, Severity, UnknownValue
from gesso.data.doctor.report import NO_SPACE, ClassUse
from gesso.data.doctor.scan import Scan
from gesso.data.layouts import Listing, Orphan, Sample
from gesso.errors import LabelError
from gesso.labels import LabelSpace

_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_STRAY_PIXELS = 100  # a class of fewer pixels, in one map of ten or more, is perhaps a slip of the brush
_SAME_RATIO = 1.05  # distortion that nobody sees
_NAMED = 8  # empty classes named in the note; the report has them all
_ORPHANS = {
    "label map": "label-missing",
    "photograph": "photo-missing",
    "instance map": "instance-missing",
    "source picture": "source-missing",
}
_PHOTO_MODES = {  # what is done to photographs that are not RGB
    "1": "black and white; they are read as gray in three equal channels",
    "L": "gray; their channel is repeated three times",
    "I;16": "16-bit gray; they are scaled to 8 bits and their channel is repeated three times",
    "LA": "gray with transparency; transparency is dropped",
    "RGBA": "with transparency; it is dropped, and the colours stay as stored",
    "P": "in palette colours; they are read as RGB",
    "CMYK": "CMYK; they are converted to RGB without a colour profile",
}


_USUAL: dict[str, Severity] = {  # how severe it is where most label maps are like that
    "colour-coded": "note",  # odd in one file, but a dataset may be made so
    "binary-mask": "warning",  # one file may well hold a single class, a dataset not
}


class Tally:
    """Sums over samples.

    Attributes:
        space: Label space of the label maps; None without one.
        findings: Of single files, in the order of the samples.
        sizes: Samples per (height, width).
        pixels: (C + 1,) pixels per class index, the last for ignored ones.
        maps: Label maps counted in `pixels`.
        unknown: By value.
        photo_modes: Photographs per Pillow mode.
        channels: Source pictures per number of channels.
        decodings: Palette label maps per way of decoding.
    """

    def __init__(self, space: LabelSpace | None) -> None:
        classes = len(space) if space else 0
        self.space = space
        self.findings: list[Finding] = []
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.pixels = np.zeros(classes + 1, dtype=np.int64)
        self.maps = 0
        self.unknown: dict[int, UnknownValue] = {}
        self.photo_modes: defaultdict[str, list[Path]] = defaultdict(list)
        self.channels: defaultdict[int, list[Path]] = defaultdict(list)
        self.decodings: defaultdict[str, list[Path]] = defaultdict(list)
        self._maps_with = np.zeros(classes + 1, dtype=np.int64)
        self._first_with: dict[int, Path] = {}

    def add(self, sample: Sample, scan: Scan) -> None:
        """Take in one sample."""
        self.findings += scan.findings
        if scan.size:
            self.sizes[scan.size] += 1
        if scan.photo_mode and sample.image:
            self.photo_modes[scan.photo_mode].append(sample.image)
        if scan.source_channels and sample.source:
            self.channels[scan.source_channels].append(sample.source)
        if sample.label:
            self._add_label(sample.label, scan)

    def _add_label(self, path: Path, scan: Scan) -> None:
        if scan.decoding:
            self.decodings[scan.decoding].append(path)
        if scan.pixels is not None:
            self.maps += 1
            self.pixels += scan.pixels
            self._maps_with += scan.pixels > 0
            for index in np.flatnonzero(scan.pixels).tolist():
                self._first_with.setdefault(index, path)
        for new in scan.unknown:
            old = self.unknown.setdefault(new.value, replace(new, pixels=0, files=0))
            self.unknown[new.value] = replace(old, pixels=old.pixels + new.pixels, files=old.files + 1)

    def classes(self) -> tuple[ClassUse, ...]:
        """The use of each class of the space."""
        return tuple(
            ClassUse(c.name, c.colour, int(self.pixels[i]), int(self._maps_with[i]))
            for i, c in enumerate(self.space.classes if self.space else ())
        )

    def strays(self) -> Iterator[tuple[str, int, Path]]:
        """(class, pixels, map) of classes that occur in one map alone, with next to no pixels."""
        for index, use in enumerate(self.classes()):
            if use.maps == 1 and use.pixels < _STRAY_PIXELS and self.maps >= 10:
                yield use.name, use.pixels, self._first_with[index]


def dataset_findings(listing: Listing, tally: Tally, proposal: LabelSpace | LabelError | None) -> Iterator[Finding]:
    """What is wrong with the dataset as a whole, orphans included."""
    yield from _space_findings(tally, proposal)
    yield from _without_photographs(listing)
    yield from _orphan_findings(listing)
    yield from _channel_findings(tally)
    yield from _palette_findings(tally)
    yield from _class_findings(tally)
    yield from _photo_findings(tally)
    yield from _size_findings(tally)


def _space_findings(tally: Tally, proposal: LabelSpace | LabelError | None) -> Iterator[Finding]:
    if proposal is None:
        return
    start = "There is no labels.json, and no published label space is known for these folders."
    if isinstance(proposal, LabelError):
        yield Finding("error", NO_SPACE, None, f"{start} None can be proposed either: {proposal}")
    else:
        yield Finding(
            "error",
            NO_SPACE,
            None,
            f"{start} {len(proposal)} classes are proposed from what the label maps hold: write them with --write-labels "
            "and give them their names, or name a space with --space.",
        )


def _without_photographs(listing: Listing) -> Iterator[Finding]:
    if not any(sample.target for sample in listing.samples):
        meant_to_train = listing.split in ("train", "")
        message = "There are no photographs: layouts to generate from, not to train on."
        remedy = " For training, add the folder of photographs." if meant_to_train else ""
        yield Finding("error" if meant_to_train else "note", "no-photographs", None, message + remedy)


def _orphan_findings(listing: Listing) -> Iterator[Finding]:
    used = {
        (file.parent, file.stem): file
        for sample in listing.samples
        for file in (sample.label, sample.image, sample.instance, sample.source)
        if file
    }
    for orphan in listing.orphans:
        yield _orphan_finding(orphan, used.get((orphan.path.parent, orphan.path.stem)))


def _orphan_finding(orphan: Orphan, twin: Path | None) -> Finding:
    if orphan.lacks in _ORPHANS:
        message = f"has no {orphan.lacks} of the same stem, so it is left out. Add that file, or remove this one."
        return Finding("warning", _ORPHANS[orphan.lacks], orphan.path, message)
    other = f"{twin.name}, which is used instead" if twin else "another file"
    message = f"has the same stem as {other}. Keep one of the two."
    return Finding("warning", "duplicate-stem", orphan.path, message)


def _channel_findings(tally: Tally) -> Iterator[Finding]:
    usual = max(tally.channels, key=lambda number: len(tally.channels[number]), default=0)
    for number in sorted(tally.channels.keys() - {usual}):
        for path in tally.channels[number]:
            message = f"has {number} channels, but most sources have {usual}; a network takes one number. Convert it."
            yield Finding("error", "channels-differ", path, message)


def _palette_findings(tally: Tally) -> Iterator[Finding]:
    if len(tally.decodings) > 1:
        fewer, more = sorted(tally.decodings, key=lambda way: len(tally.decodings[way]))
        message = (
            f"is a palette image read by its {fewer}, as {len(tally.decodings[fewer])} maps are, while "
            f"{len(tally.decodings[more])} are read by their {more}. Save all with the palette of the label space, or all "
            "as gray values."
        )
        yield Finding("warning", "mixed-palettes", tally.decodings[fewer][0], message)


def _class_findings(tally: Tally) -> Iterator[Finding]:
    empty = [use.name for use in tally.classes() if not use.pixels]
    if empty and tally.maps:
        listed = ", ".join(empty[:_NAMED]) + (f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else "")
        text = f"{len(empty)} of {len(tally.classes())} classes never occur and will not be learnt: {listed}."
        yield Finding("note", "empty-classes", None, text)
    for name, pixels, path in tally.strays():
        message = f"is the only map with {name}, of {pixels} pixel{'s' * (pixels > 1)} in all. Is it meant?"
        yield Finding("note", "stray-class", path, message)


def _photo_findings(tally: Tally) -> Iterator[Finding]:
    total = sum(map(len, tally.photo_modes.values()))
    for mode, paths in tally.photo_modes.items():
        if mode not in ("RGB", "npy"):
            what = _PHOTO_MODES.get(mode, f"of mode {mode}; they are converted to RGB")
            message = f"{len(paths)} of {total} photographs are {what}. The first is {paths[0].name}."
            yield Finding("note", "photo-modes", None, message)


def _size_findings(tally: Tally) -> Iterator[Finding]:
    if len(tally.sizes) < 2:
        return
    ratios = [width / height for height, width in tally.sizes]
    if max(ratios) / min(ratios) < _SAME_RATIO:
        advice = f"all with width / height near {min(ratios):.2f}: any resizing fits."
    else:
        advice = (
            f"with width / height from {min(ratios):.2f} to {max(ratios):.2f}. Training brings them to one size: 'fixed' "
            "distorts other ratios, a crop keeps them."
        )
    yield Finding("note", "sizes-differ", None, f"There are {len(tally.sizes)} sizes, {advice}")


def in_order(findings: list[Finding], maps: int) -> tuple[Finding, ...]:
    """Errors, warnings, notes; what holds for most label maps is said once.

    Args:
        findings: In any order.
        maps: How many label maps could be read.
    """
    kept = [f for f in findings if f.severity == "error" or f.code not in _USUAL]
    for code, severity in _USUAL.items():
        alike = [f for f in findings if f.severity != "error" and f.code == code]
        kept += [_said_once(alike, severity)] if len(alike) > max(1, maps / 2) else alike
    return tuple(sorted(kept, key=lambda finding: _SEVERITIES.index(finding.severity)))


def _said_once(alike: list[Finding], severity: Severity) -> Finding:
    others = len(alike) - 1
    message = f"{alike[0].message} So it is with {others:,} other file{'s' * (others > 1)}."
    return replace(alike[0], severity=severity, message=message)
