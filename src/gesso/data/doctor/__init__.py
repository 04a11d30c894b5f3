"""The doctor: reads a whole dataset as training would, and says what training would trip over.

listing = layouts.find("data/camvid")
report = doctor.examine(listing)
report.ok, report.findings, report.shares, report.to_json()
doctor.render(report, Console())
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from gesso.data.doctor.files import Finding, Severity, UnknownValue
from gesso.data.doctor.render import render
from gesso.data.doctor.report import ClassUse, Report
from gesso.data.doctor.scan import scan_sample
from gesso.data.doctor.spaces import Survey, propose_space, propose_space_of_colours, survey_map
from gesso.data.doctor.tally import Tally, dataset_findings, in_order
from gesso.data.layouts import Listing
from gesso.errors import LabelError
from gesso.labels import LabelSpace

__all__ = [
    "ClassUse",
    "Finding",
    "Progress",
    "Report",
    "Severity",
    "UnknownValue",
    "examine",
    "propose_space",
    "propose_space_of_colours",
    "render",
]

Progress = Callable[[int, int], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def examine(
    listing: Listing,
    space: LabelSpace | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read every file of a listing, and report. A bad file is a finding, never an exception.

    Args:
        listing: From `layouts.find` or `layouts.folders`.
        space: Meaning of the label maps; by default the listing's. Where there is none either, one is proposed from the
            label maps, which are then read twice.
        workers: Threads; by default one per processor. The report does not depend on their number.
        progress: Called with (done, of how many) after every step, from the calling thread.
    """
    threads = workers or os.cpu_count() or 1
    space = space or listing.space
    maps = [sample.label for sample in listing.samples if sample.label] if space is None else []
    meter = _Meter(progress, len(maps) + len(listing.samples))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # they would break up the progress bar, and name no file
        proposal = None
        if maps:
            found = Survey()
            for part in meter.count(_in_parallel(survey_map, maps, threads)):
                found.add(part)
            proposal = _proposal(found, listing.root.resolve().name)
            space = proposal if isinstance(proposal, LabelSpace) else None
        known = space
        tally = Tally(known)
        scans = _in_parallel(lambda sample: scan_sample(sample, known), listing.samples, threads)
        for sample, scan in zip(listing.samples, meter.count(scans), strict=True):
            tally.add(sample, scan)
    return _report(listing, tally, proposal)


class _Meter:
    """Counts steps aloud."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def count(self, items: Iterator[_Item]) -> Iterator[_Item]:
        for item in items:
            self.done += 1
            if self.progress:
                self.progress(self.done, self.total)
            yield item


def _in_parallel(work: Callable[[_Item], _Result], items: Sequence[_Item], threads: int) -> Iterator[_Result]:
    """Results in order. Threads: decoding releases the interpreter, and processes would each import torch first."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _proposal(found: Survey, name: str) -> LabelSpace | LabelError:
    try:
        return found.propose(name)
    except LabelError as error:
        return error


def _report(listing: Listing, tally: Tally, proposal: LabelSpace | LabelError | None) -> Report:
    samples = listing.samples
    instances: Literal["file", "components", "none"] = "none"
    if any(sample.instance for sample in samples):
        instances = "file"
    elif tally.space and tally.space.things and any(sample.label for sample in samples):
        instances = "components"
    return Report(
        convention=listing.convention,
        root=listing.root,
        split=listing.split,
        samples=len(samples),
        photographs=sum(sample.target is not None for sample in samples),
        maps=tally.maps,
        space=tally.space,
        proposed=isinstance(proposal, LabelSpace),
        findings=in_order([*dataset_findings(listing, tally, proposal), *tally.findings], tally.maps),
        classes=tally.classes(),
        ignored=int(tally.pixels[-1]),
        sizes=dict(tally.sizes.most_common()),
        unknown=tuple(sorted(tally.unknown.values(), key=lambda value: (-value.pixels, value.value))),
        instances=instances,
        photo_modes={mode: len(paths) for mode, paths in tally.photo_modes.items()},
        source_channels=max(tally.channels, key=lambda number: len(tally.channels[number]), default=0),
    )
