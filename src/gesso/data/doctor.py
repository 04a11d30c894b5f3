"""The doctor: reads a whole dataset as training would, and says what training would trip over.

    listing = layouts.find("data/camvid")
    report = doctor.examine(listing)
    report.ok, report.findings, report.shares, report.to_json()
    doctor.render(report, Console())
"""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from gesso.data.doctor_files import Counts, Finding, Severity, UnknownValue
from gesso.data.doctor_render import render
from gesso.data.doctor_report import NO_SPACE, ClassUse, Report
from gesso.data.doctor_scan import Scan, scan_sample
from gesso.data.doctor_spaces import Survey, propose_space, survey_map
from gesso.data.layouts import Listing, Orphan
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
    "render",
    "survey",
]

Progress = Callable[[int, int], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_STRAY_PIXELS = 100  # a class of fewer pixels, in one map of ten or more, is perhaps a slip
_ORPHANS = {
    "label map": "label-missing",
    "photograph": "photo-missing",
    "instance map": "instance-missing",
    "source picture": "source-missing",
    "unique stem": "duplicate-stem",
}


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
        workers: Threads; by default one per processor. The report does not depend on it.
        progress: Called with (files or samples done, of how many) from the calling thread.
    """
    meter = _Meter(progress, len(listing.samples))
    workers = workers or os.cpu_count() or 1
    space = space or listing.space
    refusal = None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # they would break up the progress bar, and name no file
        proposed = space is None and any(sample.label for sample in listing.samples)
        if proposed:
            try:
                space = survey(listing, workers=workers, progress=meter.announce(2)).propose(listing.root.resolve().name)
            except LabelError as error:
                refusal = str(error)
        tally = _Tally(np.zeros((0 if space is None else len(space)) + 1, dtype=np.int64))
        for scan in _in_parallel(lambda sample: scan_sample(sample, space), listing.samples, workers):
            tally.add(scan)
            meter.step()
    return _report(listing, space, tally, proposed, refusal)
